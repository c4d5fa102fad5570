"""What became of a training run's turn, in a file of its folder: queued or running, why, and on which GPUs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from roles.onhost import files, nofollow

FILE = "turn-state.json"
LARGEST_RECORD = 256_000_000
"""Bytes of a run's record, run.json, that are read, as many as the trainer reads itself."""


def write(folder: Path, state: str, text: str, gpus: list[str], invocation: str) -> None:
    """Note the state.

    + state: queued or running
    + text: why, or on which GPUs, for people
    + invocation: the start of the unit that it belongs to; what an earlier one wrote says nothing of this one
    """
    known = {"state": state, "text": text, "gpus": gpus, "invocation": invocation}
    if files.read_json(folder / FILE) != known:
        files.write(folder / FILE, json.dumps(known))


def read(folder: Path) -> dict[str, Any]:
    """The same keys. Untrusted: the run can write to the file too."""
    found = nofollow.read_json(folder / FILE)
    gpus = found.get("gpus")
    return {
        "invocation": found.get("invocation"),
        "state": "queued" if found.get("state") == "queued" else "running",
        "text": str(found.get("text", "")),
        "gpus": [str(gpu) for gpu in gpus] if isinstance(gpus, list) else [],
    }
