"""[network]: the low-rank network that is trained."""

from typing import Literal

from pydantic import Field, model_validator

from training.sections.base import File, Rate, Settings

Kind = Literal["lora", "locon", "dora", "loha", "lokr"]
CONVOLUTIONAL = ("locon",)
"""Kinds that train the 3x3 convolutions even if conv_rank is not set."""


class Network(Settings):
    """[network]: kind, size and location of the trained weights."""

    kind: Kind = Field(
        default="lora",
        description="lora, locon (with convolutions), dora (WebUI 1.10 applies it incorrectly), loha or lokr.",
    )
    rank: int = Field(default=16, ge=1, description="Rank of the update of Linear and 1x1 convolution layers.")
    alpha: float = Field(default=8.0, gt=0, description="The update is scaled by alpha / rank.")
    conv_rank: int | None = Field(
        default=None,
        ge=1,
        description="Rank of the update of 3x3 convolutions; unset: they are not trained (locon: rank).",
    )
    conv_alpha: float | None = Field(default=None, gt=0, description="Alpha of the 3x3 convolutions; default: alpha.")
    ranks: dict[str, int] = Field(
        default={},
        description='Rank by block, e.g. { "down_blocks.0" = 4, "up_blocks.*attn2" = 32 }; the first match wins.',
    )
    alphas: dict[str, float] = Field(default={}, description="Alpha by block, matched like ranks.")
    unet: bool = Field(default=True, description="Train the UNet.")
    text_encoder: bool = Field(default=False, description="Train the text encoders too.")
    text_encoder_until: Rate = Field(
        default=1.0, description="Stop training the text encoders after this share of the steps."
    )
    dropout: Rate = Field(default=0.0, description="Probability that an input of the update is dropped.")
    rank_dropout: Rate = Field(default=0.0, description="Probability that a rank of the update is dropped.")
    module_dropout: Rate = Field(default=0.0, description="Probability that the update of a layer is skipped.")
    lokr_factor: int = Field(
        default=-1, ge=-1, description="LoKr: size of the first Kronecker factor; -1 is automatic."
    )
    start_from: File | None = Field(default=None, description="Start from this LoRA file instead of from zero.")
    rank_from_start: bool = Field(default=False, description="Take ranks and alphas from start_from.")
    max_norm: float | None = Field(
        default=None, gt=0, description="Scale each update down to at most this norm after every step."
    )

    @property
    def conv(self) -> int | None:
        """Rank of the 3x3 convolutions, None if they are not trained."""
        return self.conv_rank or (self.rank if self.kind in CONVOLUTIONAL else None)

    @model_validator(mode="after")
    def _consistent(self) -> "Network":
        if not self.unet and not self.text_encoder:
            raise ValueError("nothing to train: set unet or text_encoder to true")
        if self.rank_from_start and self.start_from is None:
            raise ValueError("rank_from_start needs start_from")
        if any(rank < 1 for rank in self.ranks.values()):
            raise ValueError(
                "every rank in ranks must be at least 1; leave a block out by unet = false or another kind"
            )
        return self
