"""What the doctor says: one sentence a check, and one cure."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["good", "warning", "bad"]


@dataclass(frozen=True)
class Finding:
    """The outcome of one check."""

    level: Level
    subject: str
    """What was looked at, in a word or two."""
    says: str
    cure: str = ""
    """The one thing to do; empty if all is well."""


def good(subject: str, says: str) -> Finding:
    """All is well."""
    return Finding("good", subject, says)


def warning(subject: str, says: str, cure: str) -> Finding:
    """It works, but not for long or not well."""
    return Finding("warning", subject, says, cure)


def bad(subject: str, says: str, cure: str) -> Finding:
    """It does not work."""
    return Finding("bad", subject, says, cure)
