"""The WebUI as programs on its host know it (drawing_applications.Application).

Its requests go to loopback. One that is not ready must not be asked: that would end its start.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from roles.onhost import loopback

NAME = "the WebUI"
UNIT = "sdfleet-webui.service"
KEEPS_UNLOADED = True
KINDS = ("checkpoints", "vae", "loras", "embeddings")
"""What it lists and can be told to list again."""


def refusal(said: Any) -> str:
    """What the WebUI says in an answer with an error: the exception. Forge Neo has its text as `message`."""
    return f"{said['error']}: {said.get('errors') or said.get('message') or said['detail']}"


ask = partial(loopback.ask_json, refusal=refusal)
"""JSON of one request, a POST if there is a body. Raises loopback.AnswerError."""


def checkpoints(port: int, seconds: float) -> list[str]:
    """Titles of the models that it can draw with. Raises loopback.AnswerError."""
    found = ask(port, "/sdapi/v1/sd-models", seconds=seconds)
    if not isinstance(found, list):
        raise loopback.AnswerError("sent no list of checkpoints")
    return [str(model.get("title", "") if isinstance(model, dict) else model) for model in found]


def card_memory(port: int, seconds: float) -> int:
    try:
        return int(ask(port, "/sdapi/v1/memory", seconds=seconds)["cuda"]["reserved"]["current"])
    except (LookupError, TypeError, ValueError):
        return 0


def loaded(port: int, seconds: float) -> str:
    try:
        return str(ask(port, "/sdapi/v1/options", seconds=seconds).get("sd_model_checkpoint") or "")
    except AttributeError as error:
        raise loopback.AnswerError("sent no options") from error


def tell(port: int, verb: str, seconds: float) -> None:
    """Have it do something that has no answer: refresh-loras, unload-checkpoint, ... Raises loopback.AnswerError."""
    loopback.ask(port, f"/sdapi/v1/{verb}", b"{}", seconds=seconds)


def progress(port: int, seconds: float = 10) -> tuple[str, str]:
    told = ask(port, "/sdapi/v1/progress?skip_current_image=true", seconds=seconds)
    try:
        # -1 while it loads the model for a picture.
        return "draws" if told["state"]["job_count"] else "", str(told["state"].get("job_timestamp"))
    except (LookupError, TypeError, AttributeError) as error:
        raise loopback.AnswerError("sent no progress") from error


def queued(port: int) -> int:
    """0 if it does not tell, as older ones."""
    try:
        return int(ask(port, "/internal/pending-tasks")["size"])
    except (loopback.AnswerError, LookupError, TypeError, ValueError):
        return 0


def refresh(port: int, seconds: float) -> list[str]:
    """What an older WebUI does not know (404) is no fault."""
    faults = []
    for kind in KINDS:
        try:
            tell(port, f"refresh-{kind}", seconds)
        except loopback.AnswerError as error:
            if error.status != 404:
                faults.append(f"refresh-{kind} {error}")
    return faults


def refresh_loras(port: int, seconds: float) -> None:
    tell(port, "refresh-loras", seconds)


def unload(port: int, seconds: float) -> None:
    tell(port, "unload-checkpoint", seconds)


def load_again(port: int, seconds: float) -> None:
    """Have it load the checkpoint that it unloaded. Raises loopback.AnswerError."""
    tell(port, "reload-checkpoint", seconds)
