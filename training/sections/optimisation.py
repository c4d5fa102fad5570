"""[optimizer], [schedule] and [train]: optimiser, learning rate, length, batch, precision, device."""

from typing import Literal

from pydantic import Field, model_validator

from training.sections.base import Rate, Settings

OptimizerKind = Literal[
    "AdamW",
    "AdamW8bit",
    "PagedAdamW",
    "PagedAdamW8bit",
    "PagedAdamW32bit",
    "Lion",
    "Lion8bit",
    "PagedLion8bit",
    "SGDNesterov",
    "SGDNesterov8bit",
    "Adafactor",
    "Prodigy",
    "DAdaptation",
    "DAdaptAdam",
    "DAdaptAdamPreprint",
    "DAdaptAdaGrad",
    "DAdaptAdan",
    "DAdaptAdanIP",
    "DAdaptLion",
    "DAdaptSGD",
    "AdamWScheduleFree",
    "SGDScheduleFree",
    "RAdamScheduleFree",
]
ScheduleKind = Literal[
    "constant",
    "constant_with_warmup",
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "cosine_with_min_lr",
    "warmup_stable_decay",
    "inverse_sqrt",
    "adafactor",
]
Value = bool | int | float | str | tuple[float, ...] | None


class Optimizer(Settings):
    """[optimizer]: optimiser and learning rates."""

    kind: OptimizerKind = Field(default="AdamW", description="Optimiser, by kohya's names.")
    learning_rate: float = Field(default=1e-4, gt=0, description="Learning rate; 1.0 for Prodigy and D-Adaptation.")
    unet_learning_rate: float | None = Field(
        default=None, ge=0, description="The UNet's learning rate; default: learning_rate."
    )
    text_encoder_learning_rate: float | None = Field(
        default=None, ge=0, description="The text encoders' learning rate; default: learning_rate."
    )
    args: dict[str, Value] = Field(default={}, description="Further arguments of the optimiser, e.g. weight_decay.")
    max_grad_norm: float = Field(default=1.0, ge=0, description="Clip the gradient's norm; 0 never clips.")


class Schedule(Settings):
    """[schedule]: the learning rate over time."""

    kind: ScheduleKind = Field(default="cosine", description="Shape of the learning rate, by kohya's names.")
    warmup_steps: int | float = Field(
        default=0, ge=0, description="Steps until the full rate; below 1 it is a share of all steps."
    )
    cycles: int = Field(default=1, ge=1, description="Restarts of cosine_with_restarts.")
    power: float = Field(default=1.0, gt=0, description="Exponent of polynomial.")
    decay_steps: int | float = Field(
        default=0,
        ge=0,
        description="Steps over which warmup_stable_decay falls at the end; below 1 it is a share of all steps.",
    )
    min_ratio: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Final rate of cosine_with_min_lr and warmup_stable_decay, as a share of the full rate.",
    )


class Train(Settings):
    """[train]: length, batch, precision, device."""

    epochs: int | None = Field(default=None, ge=1, description="Length in epochs; give this or steps.")
    steps: int | None = Field(default=None, ge=1, description="Length in optimiser steps; default 10 epochs.")
    batch_size: int = Field(default=1, ge=1, description="Pictures per forward pass.")
    accumulation: int = Field(default=1, ge=1, description="Forward passes per optimiser step.")
    seed: int = Field(default=42, ge=0, lt=2**63, description="Seed of every random draw.")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(default="auto", description="auto: the GPU if there is one.")
    precision: Literal["auto", "fp32", "fp16", "bf16"] = Field(
        default="auto",
        description="Precision of the base model and the arithmetic; auto: bf16 on GPUs that have it, fp16 on older "
        "ones, fp32 on CPUs.",
    )
    full_precision: bool = Field(
        default=True,
        description="Keep trained weights, their gradients and the optimiser's state in fp32; false: in bf16.",
    )
    nan_steps: int = Field(
        default=10, ge=1, description="End the run after this many steps in a row with a NaN or infinite loss."
    )
    attention: Literal["sdpa", "xformers", "plain"] = Field(default="sdpa", description="How attention is computed.")
    gradient_checkpointing: bool = Field(default=False, description="Save memory by computing activations twice.")
    compile: bool = Field(default=False, description="Compile the UNet (torch.compile); pays on long GPU runs.")
    deterministic: bool = Field(default=True, description="Use deterministic kernels only (CUDA); false may be faster.")
    tf32: bool = Field(default=False, description="Let CUDA round fp32 products to TF32: faster, 10 bits of mantissa.")
    capture: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="Capture forward and backward pass into CUDA graphs, one per shape; on: fail if impossible.",
    )
    channels_last: bool = Field(default=False, description="Memory layout that is faster from batch 4 on.")
    ema_decay: Rate | None = Field(
        default=None, description="Keep an exponential average of the weights and export it."
    )

    @model_validator(mode="after")
    def _one_length(self) -> "Train":
        if self.epochs is not None and self.steps is not None:
            raise ValueError("give epochs or steps, not both")
        if not self.full_precision and self.precision not in ("auto", "bf16"):
            raise ValueError('full_precision = false needs precision = "bf16": it keeps the trained weights in bf16')
        return self
