"""A finding about a file of a dataset."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Grade = Literal["bad", "warning", "note"]
GRADES: tuple[Grade, ...] = ("bad", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """A problem of a file or folder, and what to do about it."""

    grade: Grade
    """bad: the trainer refuses it, or would learn something wrong; warning: worth a look; note: for information."""
    path: Path
    text: str
