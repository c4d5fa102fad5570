"""Drawing: the loaded checkpoint, and txt2img on it."""

import hashlib
import random
import threading
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, StableDiffusionPipeline
from PIL import Image
from transformers import CLIPTokenizer

from .checkpoint import load_checkpoint
from .lora import Loras, short_hash, take_tags

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
    """What txt2img is asked for."""

    prompt: str
    negative_prompt: str
    seed: int
    steps: int
    cfg_scale: float
    width: int
    height: int
    batch_size: int
    sampler: str


@dataclass
class Progress:
    """How far the picture in work is."""

    job: str = ""
    step: int = 0
    steps: int = 0
    interrupted: bool = False


@dataclass
class Drawn:
    """Pictures, their seeds, and the LoRAs named in the prompt with their short hashes."""

    images: list[Image.Image]
    seeds: list[int]
    loras: dict[str, str] = field(default_factory=dict)


class Studio:
    """The checkpoints and LoRAs of two folders, one checkpoint in memory, one picture at a time."""

    def __init__(self, checkpoints: Path, loras: Path) -> None:
        self.checkpoints = checkpoints
        self.loras = loras
        self.progress = Progress()
        self.last_job = "0"
        """When it began to draw last, as the original tells it."""
        self.loaded: Path | None = None
        self._hashes: dict[tuple[Path, int], str] = {}
        self._pipeline: Any = None
        self._merged: Loras | None = None
        self._lock = threading.RLock()

    def checkpoint_files(self) -> list[Path]:
        """All checkpoints, sorted by name."""
        return sorted(self.checkpoints.rglob("*.safetensors"))

    def lora_files(self) -> dict[str, Path]:
        """All LoRA files by the name that a prompt uses."""
        return {path.stem: path for path in sorted(self.loras.rglob("*.safetensors"))}

    def sha256(self, path: Path) -> str:
        """sha256 of a checkpoint, computed once per version of the file."""
        key = (path, path.stat().st_mtime_ns)
        if key not in self._hashes:
            with path.open("rb") as file:
                # As in the original: what others write meanwhile comes into this line.
                print(f"Calculating sha256 for {path}: ", end="", flush=True)
                self._hashes[key] = hashlib.file_digest(file, "sha256").hexdigest()
                print(self._hashes[key], flush=True)
        return self._hashes[key]

    def title(self, path: Path) -> str:
        """How lists and options name a checkpoint."""
        return f"{path.relative_to(self.checkpoints)} [{self.sha256(path)[:10]}]"

    def find(self, name: str | None) -> Path:
        """The checkpoint with that title, file name or stem, or the first one if there is no name.

        Raises FileNotFoundError if there is none.
        """
        files = self.checkpoint_files()
        for path in files:
            if not name or name in (self.title(path), path.name, path.stem):
                return path
        raise FileNotFoundError(f"No checkpoint {name or ''} found in {self.checkpoints}")

    def load(self, name: str | None) -> None:
        """Load a checkpoint unless it is in memory already."""
        with self._lock:
            path = self.find(name)
            if path == self.loaded:
                return
            print(f"Loading weights [{self.sha256(path)[:10]}] from {path}")
            unet, vae, text_encoder = load_checkpoint(path)
            tokenizer = CLIPTokenizer.from_pretrained("openai/clip-vit-large-patch14", local_files_only=True)
            pipeline: Any = StableDiffusionPipeline(
                vae=vae,
                text_encoder=text_encoder,
                tokenizer=tokenizer,
                unet=unet,
                scheduler=EulerDiscreteScheduler(**NOISE),
                safety_checker=None,
                feature_extractor=None,
                requires_safety_checker=False,
            )
            pipeline.set_progress_bar_config(disable=True)
            self._pipeline = pipeline
            self._merged = Loras(unet, text_encoder)
            self.loaded = path
            print("Model loaded.")

    def load_in_background(self, name: str | None) -> threading.Thread:
        """Load a checkpoint without making the start wait for it; a failure is told to the log only."""

        def attempt() -> None:
            try:
                self.load(name)
            except Exception:
                traceback.print_exc()
                print("Stable diffusion model failed to load")

        thread = threading.Thread(target=attempt, daemon=True)
        thread.start()
        return thread

    def draw(self, order: Order, checkpoint: str | None) -> Drawn:
        """Draw `order.batch_size` pictures with seeds that count up; a negative seed is drawn by lot."""
        prompt, wanted = take_tags(order.prompt)
        with self._lock:
            if checkpoint or not self.loaded:
                self.load(checkpoint)
            assert self._merged is not None
            files = self.lora_files()
            for name in wanted.keys() - files.keys():
                print(f"Couldn't find Lora with name {name}")
            chosen = {name: files[name] for name in wanted if name in files}
            self._merged.apply((path, wanted[name]) for name, path in chosen.items())
            first = order.seed if order.seed >= 0 else random.randrange(2**32)
            seeds = [first + index for index in range(order.batch_size)]
            self._pipeline.scheduler = SAMPLERS[order.sampler](**NOISE)
            self.progress = Progress(job="txt2img", steps=order.steps)
            self.last_job = time.strftime("%Y%m%d%H%M%S")
            try:
                images = self._run(self._pipeline, order, prompt, seeds)
            finally:
                self.progress = Progress()
        return Drawn(images, seeds, {name: short_hash(path) for name, path in chosen.items()})

    def _run(self, pipeline: Any, order: Order, prompt: str, seeds: list[int]) -> list[Image.Image]:
        def after_step(_: object, step: int, __: object, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            self.progress.step = step + 1
            pipeline._interrupt = self.progress.interrupted
            return tensors

        made = pipeline(
            prompt=[prompt] * len(seeds),
            negative_prompt=[order.negative_prompt] * len(seeds),
            height=order.height,
            width=order.width,
            num_inference_steps=order.steps,
            guidance_scale=order.cfg_scale,
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
            callback_on_step_end=after_step,
        )
        images: list[Image.Image] = made.images
        return images
