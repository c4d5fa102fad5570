"""[save], [sample], [validation] and [log]: what a run writes."""

from typing import Literal

from pydantic import Field, model_validator

from training.sections.base import File, Rate, Settings

Sampler = Literal[
    "ddim",
    "ddpm",
    "pndm",
    "lms",
    "euler",
    "euler_a",
    "heun",
    "dpmsolver",
    "dpmsolver++",
    "dpmsingle",
    "k_dpm_2",
    "k_dpm_2_a",
]


SAMPLER_ALIASES = {
    "k_lms": "lms",
    "k_euler": "euler",
    "k_euler_a": "euler_a",
    "dpm_2": "k_dpm_2",
    "dpm_2_a": "k_dpm_2_a",
}
"""Other names of sd-scripts for the same samplers."""


class Save(Settings):
    """[save]: the LoRA files and the checkpoints to resume from."""

    precision: Literal["fp32", "fp16", "bf16"] = Field(default="fp16", description="Number format of the LoRA files.")
    every_steps: int | None = Field(default=None, ge=1, description="Write NAME-stepNNNNNNNN every n steps.")
    every_epochs: int | None = Field(default=None, ge=1, description="Write NAME-NNNNNN every n epochs.")
    keep: int | None = Field(default=None, ge=1, description="Keep only the last n of these.")
    checkpoint_every_steps: int | None = Field(
        default=None, ge=1, description="Write a checkpoint to resume from every n steps; default: every epoch."
    )
    keep_checkpoints: int = Field(default=1, ge=1, description="Keep the last n checkpoints.")
    comment: str = Field(default="", description="Written into the file's metadata.")


class Sample(Settings):
    """[sample]: pictures drawn during training."""

    prompts: tuple[str, ...] = Field(
        default=(),
        description="Prompts in kohya's syntax: prompt --n negative --w 512 --h 512 --d seed --l cfg --s steps.",
    )
    prompts_file: File | None = Field(default=None, description="File with one prompt a line.")
    every_steps: int | None = Field(default=None, ge=1, description="Draw them every n steps.")
    every_epochs: int | None = Field(default=None, ge=1, description="Draw them every n epochs.")
    at_first: bool = Field(default=False, description="Draw them before the first step too.")
    sampler: Sampler = Field(default="ddim", description="Sampler, by kohya's names.")

    @model_validator(mode="after")
    def _needs_prompts(self) -> "Sample":
        wanted = self.every_steps or self.every_epochs or self.at_first
        if wanted and not self.prompts and self.prompts_file is None:
            raise ValueError("pictures are asked for, but there is no prompt: set prompts or prompts_file")
        return self


class Validation(Settings):
    """[validation]: the loss on held-back pictures, with fixed noise."""

    share: Rate = Field(default=0.0, description="Share of the pictures that is held back.")
    folder: File | None = Field(default=None, description="Folder of pictures held back, instead of a share.")
    every_steps: int | None = Field(default=None, ge=1, description="Measure every n steps; default: every epoch.")
    timesteps: int = Field(default=4, ge=1, le=100, description="Timesteps a picture, evenly spaced.")


class Log(Settings):
    """[log]: machine-readable records; log.jsonl is always written."""

    tensorboard: bool = Field(default=False, description="Write TensorBoard events to the run folder's tensorboard/.")
    every_steps: int = Field(default=1, ge=1, description="Write a record every n steps.")
