"""ComfyUI as programs on its host know it (drawing_applications.Application); its requests go to loopback."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from roles.onhost import loopback

NAME = "ComfyUI"
UNIT = "sdfleet-comfyui.service"
KEEPS_UNLOADED = False


def refusal(said: Any) -> str:
    """What ComfyUI says in an answer with an error: the message, and the first node's."""
    nodes = [(node["class_type"], error) for node in said["node_errors"].values() for error in node["errors"]]
    told = [f"{kind}: {error['message']}: {error['details']}" for kind, error in nodes[:1]]
    return "; ".join([str(said["error"]["message"]), *told])


ask = partial(loopback.ask_json, refusal=refusal)
"""JSON of one request, a POST if there is a body. Raises loopback.AnswerError."""


def checkpoints(port: int, seconds: float = 10) -> list[str]:
    """Names of the files that it can draw with, sorted. Raises loopback.AnswerError."""
    found = ask(port, "/models/checkpoints", seconds=seconds)
    if not isinstance(found, list):
        raise loopback.AnswerError("sent no list of checkpoints")
    return [str(name) for name in found]


def card_memory(port: int, seconds: float) -> int:
    try:
        device = ask(port, "/system_stats", seconds=seconds)["devices"][0]
        return 0 if device["type"] == "cpu" else int(device["torch_vram_total"])
    except (LookupError, TypeError, ValueError):
        return 0


def loaded(port: int, seconds: float) -> str:
    """None: a graph names one."""
    return ""


def waiting(port: int, seconds: float = 10) -> int:
    """How many pictures are in the making or wait to be. Raises loopback.AnswerError."""
    try:
        return int(ask(port, "/prompt", seconds=seconds)["exec_info"]["queue_remaining"])
    except (LookupError, TypeError, ValueError) as error:
        raise loopback.AnswerError("does not tell what it is at") from error


def tell(port: int, path: str, body: dict[str, Any], seconds: float = 10) -> None:
    """A POST that has no answer. Raises loopback.AnswerError."""
    loopback.ask(port, path, json.dumps(body).encode(), seconds=seconds)


def progress(port: int, seconds: float = 10) -> tuple[str, str]:
    count = waiting(port, seconds)
    try:
        last = ", ".join(ask(port, "/history?max_items=1", seconds=seconds))
    except TypeError as error:
        raise loopback.AnswerError("sent no history") from error
    return f"draws, or has in its queue, {count} picture(s)" if count else "", last


def queued(port: int) -> int:
    """None besides those that its progress counts."""
    return 0


def refresh(port: int, seconds: float) -> list[str]:
    """It finds new files by itself, but does not see that one which it has read was replaced."""
    try:
        unload(port, seconds)
    except loopback.AnswerError as error:
        return [f"/free {error}"]
    return []


def refresh_loras(port: int, seconds: float) -> None:
    unload(port, seconds)


def unload(port: int, seconds: float) -> None:
    """When it has finished what is in the making; at once if it is idle."""
    tell(port, "/free", {"unload_models": True, "free_memory": True}, seconds)
