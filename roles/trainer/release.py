"""The trainer's release on a host, computed once for plan, apply and verify."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from roles.operations.application import Environment, ReleaseError
from roles.operations.locks import CPU, LockError, builds, fitting
from roles.paths import Paths
from roles.trainer.config import Trainer
from roles.trainer.rendering import launcher
from training.archive import archive

FOR_CPU = "cu128"
"""The build whose lock serves CPU hosts: the torch release that all cards in use share."""
LOCKS = Path(__file__).resolve().parent / "locks"
"""Compiled from training/pyproject.toml; which torch goes with which build stands in locks.toml beside them."""


@dataclass(frozen=True)
class Release:
    """A build of the trainer: its code and environment."""

    environment: Environment
    code: bytes
    """The archive of training/archive.py."""

    @property
    def key(self) -> str:
        """Name of its folder: 16 hex digits."""
        started_by = launcher(PurePosixPath("release"), PurePosixPath(self.environment.key))
        return hashlib.sha256(started_by.encode() + self.code).hexdigest()[:16]

    def manifest(self) -> str:
        """manifest.json of its folder."""
        content = {
            "id": self.key,
            "sha256": hashlib.sha256(self.code).hexdigest(),
            "environment": self.environment.key,
            "python": self.environment.python,
        }
        return json.dumps(content, indent=2) + "\n"

    def folder(self, paths: Paths) -> PurePosixPath:
        return paths.releases("trainer") / self.key


def torch_builds(trainer: Trainer) -> tuple[str, ...]:
    """Every torch build that a host may get under these settings."""
    if trainer.requirements and not trainer.requirements.is_dir():
        return (CPU,)  # one lock for all hosts
    return builds(trainer.requirements or LOCKS, "", trainer.python) or (CPU,)


def trainer_release(trainer: Trainer, build: str) -> Release:
    """The release that `trainer` describes on a host that gets torch's `build` (cpu, cu128, ...).

    Raises ReleaseError if its requirements lock is missing.
    """
    place = trainer.requirements or LOCKS
    try:
        file = fitting(place, "", trainer.python, build, FOR_CPU) if place.is_dir() else place
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ReleaseError("trainer.requirements", f"{place} does not exist") from error
    except LockError as error:
        raise ReleaseError("trainer.requirements", str(error)) from error
    return Release(Environment(lock=text, python=trainer.python), archive())
