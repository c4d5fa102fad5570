"""Lock files that only their owner can open. Runs on hosts."""

from __future__ import annotations

import os
from pathlib import Path


def open_lock(place: Path) -> int:
    """Open or make a lock file; the descriptor. Whoever can read a file can lock it (flock(2)), so nobody else may."""
    opened = os.open(str(place), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.fchmod(opened, 0o600)
    return opened
