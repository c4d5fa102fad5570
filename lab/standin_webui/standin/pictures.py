"""Checkpoints and LoRAs of two folders, and pictures drawn with them."""

import hashlib
import threading
import time
import traceback
from dataclasses import dataclass, field, replace
from pathlib import Path

from drawing.painter import Order, Painter
from PIL import Image

from .lora import read_modules, short_hash, take_tags

TOKENIZER = "openai/clip-vit-large-patch14"


@dataclass
class Progress:
    """How far the picture in work is."""

    job: str = ""
    step: int = 0
    steps: int = 0
    interrupted: bool = False


@dataclass
class Drawn:
    """Pictures, and the LoRAs named in the prompt with their short hashes."""

    images: list[Image.Image]
    loras: dict[str, str] = field(default_factory=dict)


class Studio:
    """The checkpoints and LoRAs of two folders, one checkpoint in memory, one picture at a time."""

    def __init__(self, checkpoints: Path, loras: Path) -> None:
        self.checkpoints = checkpoints
        self.loras = loras
        self.progress = Progress()
        self.last_job = "0"
        """When it began to draw last, as the original tells it."""
        self._hashes: dict[tuple[Path, int], str] = {}
        self._painter = Painter(TOKENIZER, read_modules)
        self._lock = threading.RLock()

    @property
    def loaded(self) -> Path | None:
        """The checkpoint in memory."""
        loaded: Path | None = self._painter.loaded
        return loaded

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
            self._painter.load(path)
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
        """Draw what is ordered, with the LoRAs that its prompt names."""
        prompt, wanted = take_tags(order.prompt)
        with self._lock:
            if checkpoint or not self.loaded:
                self.load(checkpoint)
            files = self.lora_files()
            for name in wanted.keys() - files.keys():
                print(f"Couldn't find Lora with name {name}")
            chosen = {name: files[name] for name in wanted if name in files}
            loras = [(path, wanted[name]) for name, path in chosen.items()]
            self.progress = Progress(job="txt2img", steps=order.steps)
            self.last_job = time.strftime("%Y%m%d%H%M%S")
            try:
                latents = self._painter.sample(replace(order, prompt=prompt), loras, self._after_step)
                images = self._painter.decode(latents)
            finally:
                self.progress = Progress()
        return Drawn(images, {name: short_hash(path) for name, path in chosen.items()})

    def _after_step(self, done: int) -> bool:
        self.progress.step = done
        return self.progress.interrupted
