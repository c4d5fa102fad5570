"""Lock files that only their owner can open. Runs on hosts."""

from __future__ import annotations

import os
from pathlib import Path


def open_lock(place: Path) -> int:
    """Open or make a lock file; the descriptor. Whoever can read a file can lock it (flock(2)), so nobody else may."""
    opened = os.open(str(place), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if os.fstat(opened).st_mode & 0o777 != 0o600:  # a login's own is left: root without CAP_FOWNER may not change it
        os.fchmod(opened, 0o600)
    return opened
