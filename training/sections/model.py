"""[model]: the base model that the network is trained for."""

from typing import Literal

from pydantic import Field

from training.sections.base import File, Settings

Family = Literal["sd1", "sd2", "sdxl"]
Prediction = Literal["epsilon", "v_prediction"]


class Model(Settings):
    """[model]: the base model and how prompts are encoded with it."""

    checkpoint: File = Field(description="Single-file checkpoint (.safetensors, original layout) or diffusers folder.")
    family: Literal["auto"] | Family = Field(
        default="auto", description="sd1, sd2 or sdxl; auto: detected from the checkpoint's tensors."
    )
    prediction: Literal["auto"] | Prediction = Field(
        default="auto",
        description="What the UNet predicts; auto: what the checkpoint states, else epsilon.",
    )
    storage: Literal["precision", "fp8"] = Field(
        default="precision",
        description="How the frozen UNet is kept: in train.precision, or in fp8, which halves fp16 and is less exact.",
    )
    vae: File | None = Field(
        default=None, description="VAE to use instead of the checkpoint's: file or diffusers folder."
    )
    tokenizer: File | None = Field(
        default=None,
        description="Folder with vocab.json and merges.txt, or tokenizer.json; default: the checkpoint's, or the "
        "Hugging Face cache.",
    )
    clip_skip: int = Field(
        default=1,
        ge=1,
        le=12,
        description="Use the text encoder's n-th last layer; 1 is the last. SDXL always takes the last but one.",
    )
    max_token_length: Literal[75, 150, 225] = Field(
        default=75, description="Longest caption in tokens; more than 75 are encoded in chunks of 75."
    )

    def hidden_layer(self, family: Family) -> int:
        """The text encoders' layer that the UNet attends to, from the end: 1 is the last."""
        return 2 if family == "sdxl" else self.clip_skip

    def clip_skip_counts(self, family: Family) -> bool:
        """Whether the layer is one that clip_skip can mean: for SDXL 1 and 2 mean the same, more has no effect."""
        return self.clip_skip <= self.hidden_layer(family)
