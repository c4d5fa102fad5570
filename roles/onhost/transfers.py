"""The lock that every program holds, shared, while it sends a file of this host: the host is used then."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from roles.onhost.lock_file import open_lock

LOCK = Path("/run/sdfleet.transfers")
SECONDS = 2.0


@contextlib.contextmanager
def sending() -> Iterator[None]:
    """While this lasts the host counts as used; a full or read-only /run keeps nothing from being sent."""
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):
            opened = open_lock(LOCK)
            held.callback(os.close, opened)
            _share(opened)
        yield


def _share(opened: int) -> None:
    """Take the lock. Who looks at it has it for a moment; BlockingIOError if somebody has it for longer."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            return fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.01)
