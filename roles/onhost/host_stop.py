"""Stop this host, and its bill, by its provider's command."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from roles.onhost import provider
from roles.onhost.lock_file import open_lock

LOCK = Path("/run/sdfleet.lock")
"""`roles.paths.HOST_LOCK`."""
PATIENCE_SECONDS = 60
"""How long the command may take until it counts as started well; it may well end only with the host."""


def run(command: str, seconds: float = PATIENCE_SECONDS) -> str:
    """Run the command that stops the host; why that failed, empty if it did not.

    It goes on when we, or who asked for it, are gone.
    """
    own = provider.variables()
    environment = {
        **own,
        "PATH": f"{own.get('PATH', '')}:{provider.PATH}".lstrip(":"),
        "HOME": own.get("HOME", "/root"),
    }
    os.sync()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            return ""
        if not status:
            return ""
        said.seek(0)
        lines = said.read(100_000).decode(errors="replace").strip().splitlines()
        return f"`{command}` ended with status {status}: {lines[-1] if lines else 'it printed nothing'}"


@contextlib.contextmanager
def alone(holder: str) -> Iterator[str]:
    """Keep every sdfleet from changing the host; yields who changes it already, empty if nobody does.

    + holder: what others are told of us
    """
    told = LOCK.with_name(f"{LOCK.name}.holder")
    opened = open_lock(LOCK)
    try:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = told.read_text(errors="replace").strip() if told.exists() else ""
            yield who or "another run of sdfleet"
            return
        told.write_text(f"{holder}\n")
        yield ""
    finally:
        os.close(opened)
