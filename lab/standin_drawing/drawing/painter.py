"""Drawing: one checkpoint in memory, LoRAs merged into it, diffusers' pipeline on it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, StableDiffusionPipeline
from PIL import Image
from transformers import CLIPTokenizer

from .checkpoint import load_checkpoint
from .lora import Loras, Reader, Weights

SAMPLERS: dict[str, Any] = {"Euler": EulerDiscreteScheduler, "DDIM": DDIMScheduler}
NOISE = {
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "steps_offset": 1,
}
"""SD 1.5's noise schedule."""


@dataclass(frozen=True)
class Order:
    """What is to be drawn: one picture for each seed."""

    prompt: str
    negative_prompt: str
    seeds: Sequence[int]
    steps: int
    cfg_scale: float
    width: int
    height: int
    sampler: str


class Painter:
    """Draws one order at a time, with the checkpoint that was loaded last."""

    def __init__(self, tokenizer: str | Path, read: Reader) -> None:
        """`tokenizer` is a folder, or a repository in the Hugging Face cache; `read` reads LoRA files."""
        self.loaded: Path | None = None
        self._tokenizer, self._read = tokenizer, read
        self._pipeline: Any = None
        self._loras: Loras | None = None

    def load(self, checkpoint: Path) -> None:
        """Load a checkpoint. Raises KeyError if it is none of SD 1.5."""
        unet, vae, text_encoder = load_checkpoint(checkpoint)
        pipeline: Any = StableDiffusionPipeline(
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=CLIPTokenizer.from_pretrained(self._tokenizer, local_files_only=True),
            unet=unet,
            scheduler=EulerDiscreteScheduler(**NOISE),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipeline.set_progress_bar_config(disable=True)
        self._pipeline = pipeline
        self._loras = Loras(unet, text_encoder, self._read)
        self.loaded = checkpoint

    def unload(self) -> None:
        """Give the memory back."""
        self.loaded = self._pipeline = self._loras = None

    def sample(
        self, order: Order, loras: Iterable[tuple[Path, Weights]], after_step: Callable[[int], bool]
    ) -> torch.Tensor:
        """The latents of an order; `after_step` gets the number of steps done, and stops the rest by True."""
        assert self._loras is not None, "load a checkpoint first"
        self._loras.apply(loras)
        pipeline = self._pipeline
        pipeline.scheduler = SAMPLERS[order.sampler](**NOISE)

        def called(_: object, step: int, __: object, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            pipeline._interrupt = after_step(step + 1)
            return tensors

        made = pipeline(
            prompt=[order.prompt] * len(order.seeds),
            negative_prompt=[order.negative_prompt] * len(order.seeds),
            height=order.height,
            width=order.width,
            num_inference_steps=order.steps,
            guidance_scale=order.cfg_scale,
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in order.seeds],
            callback_on_step_end=called,
            output_type="latent",
        )
        latents: torch.Tensor = made.images
        return latents

    def decode(self, latents: torch.Tensor) -> list[Image.Image]:
        """The pictures of latents."""
        vae = self._pipeline.vae
        with torch.no_grad():
            pixels = vae.decode(latents / vae.config.scaling_factor, return_dict=False)[0]
        images: list[Image.Image] = self._pipeline.image_processor.postprocess(pixels, output_type="pil")
        return images
