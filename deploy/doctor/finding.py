"""The result of one check: a sentence and a cure."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["good", "warning", "bad"]


@dataclass(frozen=True)
class Finding:
    level: Level
    subject: str
    """What was checked, in a word or two."""
    says: str
    cure: str = ""
    """The one thing to do; empty if all is well."""


def good(subject: str, says: str) -> Finding:
    return Finding("good", subject, says)


def warning(subject: str, says: str, cure: str) -> Finding:
    """It works, but not well, or not for long."""
    return Finding("warning", subject, says, cure)


def bad(subject: str, says: str, cure: str) -> Finding:
    return Finding("bad", subject, says, cure)
