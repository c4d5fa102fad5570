"""Checkpoints: everything that a run needs to resume bit for bit, in one file, written atomically."""

from pathlib import Path
from typing import Any

import torch

from training import atomic_file
from training.errors import InputError, TrainingError, reason
from training.run_folder import CHECKPOINTS

NAME = "step-{:08d}.pt"


def save_checkpoint(folder: Path, step: int, state: dict[str, Any], keep: int) -> Path:
    """Write the state after `step` and remove all but the last `keep` checkpoints.

    Random draws and the order of the data need no state: they are keyed by seed and position (see rng.py).
    Raises TrainingError if it cannot be written; the earlier checkpoints remain.
    """
    path = folder / NAME.format(step)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_file.replaced(path) as part, part.open("wb") as file:
            torch.save({"step": step, **state}, file)
    except (OSError, RuntimeError) as error:
        raise TrainingError(
            f"{path}: the checkpoint cannot be written ({reason(error)}); earlier ones remain. "
            "Make room and start the run again: it goes on from the last one"
        ) from error
    for old in _found(folder)[:-keep]:
        old.unlink(missing_ok=True)
    return path


def latest_checkpoint(folder: Path) -> dict[str, Any] | None:
    """The newest checkpoint's state; None if there is none. Raises InputError if it cannot be read."""
    found = _found(folder)
    if not found:
        return None
    try:
        state: dict[str, Any] = torch.load(found[-1], map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises a different class for every kind of damage
        why = reason(error)
        raise InputError(f"{found[-1]}: is damaged ({why}); remove it to go on from the one before") from error
    return state


def remove_partial(folder: Path) -> None:
    """Remove partial files of interrupted writes."""
    for part in folder.glob(f".*{atomic_file.SUFFIX}"):
        part.unlink(missing_ok=True)


def _found(folder: Path) -> list[Path]:
    return sorted(folder.glob(CHECKPOINTS))
