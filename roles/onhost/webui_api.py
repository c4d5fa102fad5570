"""Requests to the WebUI on the host's loopback. One that is not ready must not be asked: that would end its start."""

from __future__ import annotations

import json
from typing import Any

from roles.onhost import loopback
from roles.onhost.loopback import SHOWN

KINDS = ("checkpoints", "vae", "loras", "embeddings")
"""What it lists and can be told to list again."""


def ask(
    port: int, path: str, body: dict[str, Any] | None = None, seconds: float = 10, largest: int = loopback.LARGEST
) -> Any:
    """JSON of one request, a POST if there is a body. Raises loopback.AnswerError."""
    return loopback.ask_json(port, path, body, refusal, seconds, largest)


def refusal(body: bytes) -> str:
    """What the WebUI says in an answer with an error: the exception, or how anything else begins."""
    try:
        said = json.loads(body)
        return f"{said['error']}: {said.get('errors') or said['detail']}"[:SHOWN]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return body.decode(errors="replace")[:SHOWN]


def models(port: int, seconds: float) -> Any:
    """The checkpoints that it can draw with."""
    return ask(port, "/sdapi/v1/sd-models", seconds=seconds)


def tell(port: int, verb: str, seconds: float) -> None:
    """Have it do something that has no answer: refresh-loras, unload-checkpoint, ... Raises loopback.AnswerError."""
    loopback.ask(port, f"/sdapi/v1/{verb}", b"{}", seconds=seconds)
