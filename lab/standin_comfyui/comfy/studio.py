"""What nodes draw with: one painter for all, made when the first picture is drawn."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .folders import CODE, Folders

if TYPE_CHECKING:
    from drawing.painter import Order

TOKENIZER = CODE / "comfy/sd1_tokenizer"


class Interrupted(Exception):
    """Somebody asked to stop the picture in work."""


class Studio:
    """The painter, and what is known of the picture in work. Only the worker's thread draws."""

    def __init__(self, folders: Folders, *, metadata: bool) -> None:
        """`metadata`: whether saved pictures hold their graph."""
        self.folders, self.metadata = folders, metadata
        self.interrupted = threading.Event()
        self.tell: Callable[[int, int], None] = lambda done, steps: None
        """Called after each step."""
        self._painter: Any = None

    def load(self, checkpoint: Path) -> None:
        """Have a checkpoint in memory. Raises RuntimeError if it is none of SD 1.5."""
        if self._painter is None:
            # torch takes seconds to import, and whatever does not draw needs none.
            from drawing.painter import Painter

            from .lora import read_modules

            self._painter = Painter(TOKENIZER, read_modules)
        if self._painter.loaded == checkpoint:
            return
        try:
            self._painter.load(checkpoint)
        except Exception as error:
            raise RuntimeError(f"ERROR: Could not detect model type of: {checkpoint}") from error

    def unload(self) -> None:
        """Give the memory back."""
        if self._painter is not None:
            self._painter.unload()

    def sample(self, checkpoint: Path, order: Order, loras: list[tuple[Path, tuple[float, float]]]) -> Any:
        """The latents of an order. Raises Interrupted."""
        self.load(checkpoint)

        def after_step(done: int) -> bool:
            self.tell(done, order.steps)
            return self.interrupted.is_set()

        latents = self._painter.sample(order, loras, after_step)
        self.check()
        return latents

    def decode(self, checkpoint: Path, latents: Any) -> list[Any]:
        """The pictures of latents."""
        self.load(checkpoint)
        images: list[Any] = self._painter.decode(latents)
        return images

    def check(self) -> None:
        """Raise Interrupted if somebody asked to stop."""
        if self.interrupted.is_set():
            raise Interrupted
