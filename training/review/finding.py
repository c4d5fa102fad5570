"""One remark on a dataset."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Grade = Literal["bad", "warning", "note"]
GRADES: tuple[Grade, ...] = ("bad", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """What is the matter with one file or folder, and what to do about it."""

    grade: Grade
    """bad: the trainer refuses it or learns something wrong; warning: look at it; note: good to know."""
    path: Path
    text: str
