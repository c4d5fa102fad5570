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
