"""The lock that every program holds, shared, while it sends a file of this host: the host is used then."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

LOCK = Path("/run/sdfleet.transfers")


@contextlib.contextmanager
def sending() -> Iterator[None]:
    """While this lasts the host counts as used; a full or read-only /run keeps nothing from being sent."""
    try:
        opened = os.open(str(LOCK), os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError:
        yield
        return
    try:
        fcntl.flock(opened, fcntl.LOCK_SH)
        yield
    finally:
        os.close(opened)
