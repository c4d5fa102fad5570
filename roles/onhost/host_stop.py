"""Stop this host, and its bill, by its provider's command."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from roles.onhost import confine, provider
from roles.onhost.lock_file import open_lock

LOCK = Path("/run/sdfleet.lock")
"""`roles.paths.HOST_LOCK`."""
SIMPLE = re.compile(r"([\w./+-]+)(\s[^;&|\n]*)?")
"""A single command whose first word the shell takes as it is: no assignment, variable or quote."""
PATIENCE_SECONDS = 60
"""How long the command may take until it counts as started well; it may well end only with the host."""


def missing(command: str) -> str:
    """The program that `command` begins with, if the host does not have it; empty if it does or if that is not sure."""
    found = SIMPLE.fullmatch(command.strip())
    if not found:
        return ""
    look = ["/bin/sh", "-c", 'command -v -- "$1"', "sh", found[1]]
    asked = subprocess.run(
        look, env=_environment(), cwd="/", stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    return found[1] if asked.returncode in (1, 127) else ""


def run(command: str, seconds: float = PATIENCE_SECONDS) -> str:
    """Run the command that stops the host; why that failed, empty if it did not.

    It goes on when we, or who asked for it, are gone.
    """
    os.sync()
    # In memory: on a full disk there is no place for it, and the host has to stop all the same.
    with os.fdopen(os.memfd_create("said"), "w+b") as said:
        process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            env=_environment(),
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


def _environment() -> dict[str, str]:
    own = provider.variables()
    path = f"{own.get('PATH', '')}:{confine.PATH}".lstrip(":")
    return {**own, "PATH": path, "HOME": own.get("HOME", "/root")}


@contextlib.contextmanager
def alone(holder: str) -> Iterator[str]:
    """Keep every sdfleet from changing the host; yields who changes it already, empty if nobody does.

    On a full disk others are told nothing of us, and where the lock cannot even be made nobody holds it.

    + holder: what others are told of us
    """
    told = LOCK.with_name(f"{LOCK.name}.holder")
    try:
        opened = open_lock(LOCK)
    except OSError:
        yield ""
        return
    try:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = told.read_text(errors="replace").strip() if told.exists() else ""
            yield who or "another run of sdfleet"
            return
        with contextlib.suppress(OSError):
            told.write_text(f"{holder}\n")
        yield ""
    finally:
        os.close(opened)
