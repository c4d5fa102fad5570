"""Reading run.json, what record.py writes: needs nothing but Python, because the fleet's command line reads it too."""

import json
from pathlib import Path
from typing import Any

FORMAT = 1
ARITHMETIC = ("cpu", "capability", "threads", "gpus", "driver", "torch")
"""Facts of a machine that must be equal for results to be equal to the bit."""


def read(file: Path) -> dict[str, Any] | None:
    """The record in `file`, None if there is none or it is not one."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("format") == FORMAT else None


def finished(record: dict[str, Any] | None) -> bool:
    """Whether the run of this record came to its end."""
    return bool(record and record["ended"] and record["ended"]["how"] == "finished")
