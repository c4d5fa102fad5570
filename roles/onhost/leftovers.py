"""Ending processes that are left over, with whatever they start meanwhile."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from roles.onhost import supervisor

MARK = "SDFLEET_UNIT"
"""In the environment of all programs of a service: the unit that started them."""
SECONDS = 5.0


def end(find: Callable[[], Iterable[int]]) -> None:
    """End all processes that `find` tells of, and reap those that are ours.

    All are stopped before the first is killed, so that none has the time to start another; what was started between
    two looks is found by the next one. Gives up after SECONDS.
    """
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        stopped: set[int] = set()
        while (fresh := set(find()) - stopped) and time.monotonic() < deadline:
            _send(fresh, signal.SIGSTOP)
            stopped |= fresh
        if not stopped:
            return
        _send(stopped, signal.SIGKILL)
        _reap()


def end_of_user(user: str) -> None:
    """End all processes of a user who has no service."""
    uid = pwd.getpwnam(user).pw_uid
    assert uid
    end(lambda: _alive(lambda place: place.stat().st_uid == uid or f"\nUid:\t{uid}\t" in _text(place / "status")))


def end_of_unit(unit: str) -> None:
    """End what an earlier runner of a unit has left behind when it was killed."""
    mark = f"{MARK}={unit}"
    end(lambda: _alive(lambda place: mark in _text(place / "environ").split("\0")))


def end_below() -> None:
    """End all processes below this one."""
    me = os.getpid()
    end(lambda: supervisor.children(me))


def _alive(ours: Callable[[Path], bool]) -> Iterable[int]:
    """Processes, but for those that only wait to be reaped."""
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            with contextlib.suppress(OSError):
                if ours(place) and supervisor.started(int(place.name)):
                    yield int(place.name)


def _text(file: Path) -> str:
    return file.read_bytes().decode(errors="replace")


def _send(processes: Iterable[int], number: int) -> None:
    for pid in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _reap() -> None:
    """Reap what has ended; waits a moment for it, so that a look does not find it again."""
    time.sleep(0.01)
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
