"""The applications that draw: each is asked in its own way for the same things."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from roles.onhost import comfyui_api, webui_api


class Application(Protocol):
    """One of them; a module is one. Each request raises loopback.AnswerError."""

    NAME: str
    """What people call it, within a sentence."""
    UNIT: str
    """The unit of its service, which is active only when it is ready."""
    KEEPS_UNLOADED: bool
    """Whether it must be told to load again what it has unloaded; else it does so for the next picture."""

    def checkpoints(self, port: int, seconds: float) -> list[str]:
        """Names of the models that it can draw with."""

    def loaded(self, port: int, seconds: float) -> str:
        """Which of these it draws with where none is named; empty if one always is."""

    def progress(self, port: int) -> tuple[str, str]:
        """What it does, as the end of a sentence, empty if it is idle; and what tells its last picture from others."""

    def queued(self, port: int) -> int:
        """How many pictures wait for their turn, besides those of its progress; never raises."""

    def refresh(self, port: int, seconds: float) -> list[str]:
        """Have it look at the files of all models again. What went wrong, a line each; never raises."""

    def refresh_loras(self, port: int, seconds: float) -> None:
        """Have it look at the files of LoRAs again."""

    def card_memory(self, port: int, seconds: float) -> int:
        """Bytes of the card that its torch holds now; 0 if it has no card, or cannot tell."""

    def unload(self, port: int, seconds: float) -> None:
        """Have it give back the GPU memory of its models."""


APPLICATIONS: Mapping[str, Application] = {"webui": webui_api, "comfyui": comfyui_api}
"""By the names of their roles."""
