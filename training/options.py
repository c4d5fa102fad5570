"""What options of `lora-train` have in common."""

import math
import re
from collections.abc import Callable
from pathlib import Path

import typer

from training.figures import LARGEST
from training.usable_path import usable_path

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_DIGITS = re.compile(r"[0-9]{1,20}")


def given_path(path: Path) -> Path:
    """Checks a path that may be created: a `callback` of typer's."""
    try:
        return usable_path(path)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def number(text: str) -> float:
    """A finite number as people write it: Python's own reader takes "1_0", "nan" and digits of every script too.

    Raises ValueError.
    """
    found = float(text) if _NUMBER.fullmatch(text.strip()) else math.nan
    if not math.isfinite(found):
        raise ValueError("must be a number")
    return found


def share(given: str | float) -> float:
    """A number from 0 to 1: a `parser` of typer's, which gets defaults too. typer's own range takes NaN."""
    text = str(given)
    try:
        found = number(text)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 1:
        raise typer.BadParameter(f"must be a number from 0 to 1 (is {text!r})")
    return found


def at_least(least: int) -> Callable[[str | int], int]:
    """A `parser` of typer's for whole numbers from `least`; its own sentences do not show the value."""

    def whole(given: str | int) -> int:
        text = str(given)
        found = int(text) if _DIGITS.fullmatch(text) else least - 1
        if found < least:
            raise typer.BadParameter(f"must be a whole number, at least {least} (is {text!r})")
        if found > LARGEST:
            raise typer.BadParameter(f"must be at most {LARGEST}")
        return found

    return whole
