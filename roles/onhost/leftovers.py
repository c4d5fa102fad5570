"""Ending processes that are left over, with whatever they start meanwhile."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from roles.onhost import files, supervisor

MARK = "SDFLEET_UNIT"
"""In the environment of all programs of a service: the unit that started them."""
SECONDS = 5.0
PATIENCE_SECONDS = 0.5
"""How long processes are stopped one by one; what multiplies faster than that is stopped all at once."""
SEND_SECONDS = 1.0


def end(
    find: Callable[[], Iterable[int]],
    user: int,
    gone: Callable[[], bool] | None = None,
    patience: float = PATIENCE_SECONDS,
) -> list[int]:
    """End all processes that `find` tells of, with their process groups. Returns those that are left after SECONDS.

    All are stopped before the first is killed, so that none has the time to start another; what was started between
    two looks is found by the next one. What lives for less than a look can escape that: after `patience` s, all that
    the user runs is stopped for the moment of a look, which no fork escapes.

    + user: whose they are; not if it is root
    + gone: whether none is left, for certain; else that is so when a look finds none
    """
    began = time.monotonic()
    at_once = began + (patience if user and os.geteuid() == 0 else SECONDS)
    while (now := time.monotonic()) < began + SECONDS:
        if gone and gone():
            return []
        with _still(user) if now >= at_once else contextlib.nullcontext():
            stopped: set[int] = set()
            while (fresh := set(find()) - stopped) and time.monotonic() < at_once:
                _send(fresh, signal.SIGSTOP)
                stopped |= fresh
            if not stopped | fresh and not gone:
                return []
            _send(stopped | fresh, signal.SIGKILL)
        time.sleep(0.01)  # until they have ended, or the next look would find them again
    return sorted(find())


@contextlib.contextmanager
def _still(user: int) -> Iterator[None]:
    """Stop all processes of a user at once, which no fork escapes: kill(2) with -1 holds the list of processes."""
    _send_all(user, signal.SIGSTOP)
    try:
        yield
    finally:
        _send_all(user, signal.SIGCONT)


def _send_all(user: int, number: int) -> None:
    """Send a signal as that user, who reaches his own processes alone.

    They reach the sender too: one that they stop is continued, one that they kill is started again, for SEND_SECONDS.
    """
    deadline = time.monotonic() + SEND_SECONDS
    sender = 0
    while time.monotonic() < deadline:
        sender = sender or _sender(user, number)
        changed, status = os.waitpid(sender, os.WNOHANG | os.WUNTRACED)
        if not changed:
            time.sleep(0.0005)
        elif os.WIFSTOPPED(status):
            os.kill(sender, signal.SIGCONT)
        elif os.WIFEXITED(status):
            return
        else:
            sender = 0
    if sender:
        os.kill(sender, signal.SIGKILL)
        os.waitpid(sender, 0)


def _sender(user: int, number: int) -> int:
    """The process that sends it."""
    child = os.fork()
    if not child:
        with contextlib.suppress(OSError):
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(user, user, user)
            os.kill(-1, number)
        os._exit(0)
    return child


def end_of_user(user: str) -> None:
    """End all processes of a user who has no service. Only for root."""
    uid = pwd.getpwnam(user).pw_uid
    assert uid
    deadline = time.monotonic() + SECONDS
    _send_all(uid, signal.SIGKILL)
    while any(_alive(lambda place: place.stat().st_uid == uid)) and time.monotonic() < deadline:
        time.sleep(0.01)


def mark_of(unit: str) -> str:
    """What the programs of a unit bear: its name, below the folder of its supervisord."""
    return str(supervisor.RUN / unit)


def end_of_unit(unit: str, user: str) -> list[int]:
    """End what an earlier runner of a unit has left behind when it was killed; what is left even so."""
    mark = f"{MARK}={mark_of(unit)}"
    earlier = files.read_json(supervisor.STATES / f"{unit}.json")
    killed = earlier.get("active") not in (None, "inactive", "failed")

    def marked() -> Iterable[int]:
        return _alive(lambda place: mark in _text(place / "environ").split("\0"))

    return end(marked, _number(user), patience=0 if killed else PATIENCE_SECONDS)


def end_below(user: str) -> list[int]:
    """End all processes below this one, which are of that user; what is left even so.

    This one becomes the parent of each that loses its own: without a child, it has none below it.
    """
    me = os.getpid()
    return end(lambda: supervisor.children(me), _number(user), gone=_reaped)


def _number(user: str) -> int:
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(user).pw_uid
    return 0


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
    """Send a signal to processes and their groups: each program begins one of its own (`confine`), as does its user."""
    for pid in processes:
        with contextlib.suppress(ProcessLookupError):
            group = os.getpgid(pid)
            os.kill(pid if group in (0, os.getpgrp()) else -group, number)


def _reaped() -> bool:
    """Reap all children that have ended; whether that were all."""
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        return True
    return False
