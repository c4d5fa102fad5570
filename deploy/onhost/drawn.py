"""Have what draws on a host draw with a LoRA, and tell what came of it. Runs there; see the package's docstring."""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Any

from deploy.onhost.run_states import active_units, run_of, state_of
from roles.onhost import gpus, lora_pictures, services
from roles.onhost.drawing_applications import APPLICATIONS
from roles.onhost.lora_pictures import Order, pictures, unread
from roles.onhost.png_pixels import PictureError

ON_A_GPU, ON_A_CPU = (512, 16), (64, 4)
"""Side and steps: of pictures for people, and of such as a CPU draws in seconds."""
LINES, LONGEST = 20_000, 400
"""Of the log while it drew: the most lines, and bytes of each, that are read."""


def main(
    applications: dict[str, dict[str, int]],
    order: dict[str, Any],
    seconds: float,
    runs: str,
    shared: bool,
    convert: list[str],
) -> dict[str, dict[str, Any]]:
    """By role, `said` why nothing was drawn; or the `pictures` by name (PNGs in base64), the `checkpoint`, and what was
    `unread` of the file by its own account.

    + applications: by role, the `port` and the `gpu` of each
    + order: fields of lora_pictures.Order but side and steps
    + seconds: that each may take
    + runs: folder of the trainings, whose GPUs are left alone, unless they are shared with what draws
    """
    found: dict[str, dict[str, Any]] = {}
    for role, at in applications.items():
        try:
            side, steps = ON_A_GPU if gpus.rows("name") else ON_A_CPU
            wanted = Order(**order, side=side, steps=steps)
            busy = "" if shared else _trains(Path(runs), at["gpu"])
            found[role] = {"said": busy} if busy else _drawn(role, at["port"], wanted, seconds, convert)
        except (PictureError, OSError) as error:  # AnswerError and TimeoutError are OSErrors
            found[role] = {"said": str(error)}
    return found


def _drawn(role: str, port: int, order: Order, seconds: float, convert: list[str]) -> dict[str, Any]:
    unit = APPLICATIONS[role].UNIT
    if not services.is_active(unit):
        return {"said": "it is not running"}
    began = time.time()
    checkpoint, drawn = pictures(role, port, seconds, order, convert)
    keys: list[str] = []
    if unit in lora_pictures.UNREAD:
        keys = unread(services.manager().lines_of_start(unit, LINES, LONGEST, began - 1) or [], unit)
    return {
        "pictures": {name: base64.b64encode(png).decode() for name, png in drawn.items()},
        "checkpoint": checkpoint,
        "unread": {"count": len(keys), "first": keys[0] if keys else ""},
    }


def _trains(runs: Path, gpu: int) -> str:
    """Which training holds a GPU, or the host's CPU; empty if none does."""
    for unit in active_units():
        run = run_of(unit)
        state = state_of(runs / run)
        if state["state"] == "running" and (not state["gpus"] or str(gpu) in state["gpus"]):
            return f"the training {run} needs the memory"
    return ""
