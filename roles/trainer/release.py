"""The trainer's release on a host, computed once for plan, apply and verify."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from roles.operations.application import Environment
from roles.operations.locks import Locks
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


def locks(trainer: Trainer) -> Locks:
    """Those of its environment."""
    return Locks("trainer", trainer.requirements or LOCKS, "", trainer.python, FOR_CPU)


def trainer_release(trainer: Trainer, build: str) -> Release:
    """The release that `trainer` describes on a host that gets torch's `build` (cpu, cu128, ...).

    Raises ReleaseError if its requirements lock is missing.
    """
    return Release(Environment(lock=locks(trainer).text(build), python=trainer.python), archive())
