"""Requests to the WebUI on the host's loopback. One that is not ready must not be asked: that would end its start."""

from __future__ import annotations

from functools import partial
from typing import Any

from roles.onhost import loopback

KINDS = ("checkpoints", "vae", "loras", "embeddings")
"""What it lists and can be told to list again."""


def refusal(said: Any) -> str:
    """What the WebUI says in an answer with an error: the exception."""
    return f"{said['error']}: {said.get('errors') or said['detail']}"


ask = partial(loopback.ask_json, refusal=refusal)
"""JSON of one request, a POST if there is a body. Raises loopback.AnswerError."""


def models(port: int, seconds: float) -> Any:
    """The checkpoints that it can draw with."""
    return ask(port, "/sdapi/v1/sd-models", seconds=seconds)


def tell(port: int, verb: str, seconds: float) -> None:
    """Have it do something that has no answer: refresh-loras, unload-checkpoint, ... Raises loopback.AnswerError."""
    loopback.ask(port, f"/sdapi/v1/{verb}", b"{}", seconds=seconds)
