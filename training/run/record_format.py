"""Reads run.json, which record.py writes. Standard library only: the fleet's command line reads it too."""

import json
import stat
from pathlib import Path
from typing import Any

from training.figures import is_figure

FORMAT = 1
ARITHMETIC = ("cpu", "capability", "threads", "gpus", "driver", "torch")
"""Facts of machines that must be equal for results to be identical to the bit."""


LARGEST = 256_000_000
"""Limit in bytes; half a million steps take 20 MB, a hundred thousand pictures with captions 40 MB."""
MOST_VALUES = 4_000_000
"""Values and containers in it; they bound the memory: 64 MB of "[[[]]]," would take 2.5 GB. Programs on hosts, which
cannot import this, have the same limit in roles/onhost/files.py."""


def read_record(file: Path) -> dict[str, Any] | None:
    """The record in `file`; None if there is none, or if it is not valid.

    A record is untrusted input: the result's file must be a name in output/, never a path.
    """
    try:
        about = file.stat()
        if not stat.S_ISREG(about.st_mode) or about.st_size > LARGEST:
            return None
        text = file.read_text(encoding="utf-8")
        if sum(map(text.count, ",[{")) > MOST_VALUES:
            return None
        found = json.loads(text)
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and found.get("format") == FORMAT and _is_sound(found) else None


def _is_sound(record: dict[str, Any]) -> bool:
    ended, result, sha256 = (record.get(key) for key in ("ended", "file", "sha256"))
    named = result is None or (isinstance(result, str) and _is_file_name(result))
    over = ended is None or (isinstance(ended, dict) and isinstance(ended.get("how"), str))
    return named and over and isinstance(sha256, str | None) and _are_losses(record.get("losses", []))


def _is_file_name(text: str) -> bool:
    return text not in (".", "..") and not set(text) & set("/\\\0") and len(text.encode("utf-8", "replace")) < 256


def _are_losses(found: object) -> bool:
    """Whether this is a list of pairs of step and loss; a loss may be NaN."""
    return isinstance(found, list) and all(
        isinstance(pair, list)
        and len(pair) == 2
        and isinstance(pair[0], int)
        and is_figure(pair[0])
        and (isinstance(pair[1], float) or is_figure(pair[1]))
        for pair in found
    )


def is_finished(record: dict[str, Any] | None) -> bool:
    """Whether the run of this record has finished."""
    return bool(record and (ended := record.get("ended")) and ended["how"] == "finished")
