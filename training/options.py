"""What options of `lora-train` have in common."""

from pathlib import Path

import typer

from training.usable_path import usable_path


def given_path(path: Path) -> Path:
    """Checks a path that may be created: a `callback` of typer's."""
    try:
        return usable_path(path)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def share(text: str) -> float:
    """A number from 0 to 1: a `parser` of typer's, whose own range takes NaN."""
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 1:
        raise typer.BadParameter(f"must be a number from 0 to 1 (is {text!r})")
    return found
