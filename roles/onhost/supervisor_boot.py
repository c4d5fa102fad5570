"""supervisord's own start, at a boot of the host and by `apply`."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Callable, Iterator
from pathlib import Path

from roles.onhost import files, supervised_folders, supervisor, supervisor_programs
from roles.onhost.supervisor_rpc import connect

START_SECONDS = 20
ANSWER_SECONDS = 10
SHUTDOWN_SECONDS = 900
"""Longer than any service may take to stop."""
LOOK_SECONDS = 0.1
START = """
import sys
sys.path.insert(0, sys.argv[1])
from supervisor.supervisord import main
main(["-c", sys.argv[2]])
"""
"""Runs supervisord of its own folder of packages, in the background."""


def boot(home: Path) -> None:
    """Start supervisord, with all that is enabled, unless it runs already; exits 1 with a sentence if it does not."""
    supervisor.RUN.mkdir(exist_ok=True)
    with _alone():
        if serves(home):
            return
        _end_supervisord(home)
        _end_runners()
        fresh = supervisor.RUN / ".home.new"
        files.remove(fresh)
        fresh.symlink_to(home)
        fresh.replace(supervisor.HOME)
        for stale in (supervisor.STATES, supervisor.RUN / "notify", supervisor.SECRETS, supervisor.KEEPS):
            files.remove(stale)
        files.remove(supervisor.SOCKET)
        supervised_folders.clear_all()
        for enabled in sorted((home / "enabled").glob("*")):
            supervisor_programs.write(enabled.name)
        packages, configuration = home.parent / "tools/supervisor", home / "supervisord.conf"
        command = [sys.executable, "-I", "-c", START, str(packages), str(configuration)]
        subprocess.run(command, stdin=subprocess.DEVNULL, cwd="/", check=False)
        if not _within(START_SECONDS, answers):
            sys.exit(f"supervisord does not start; see {home}/logs/supervisord.log")


def answers() -> bool:
    """Whether supervisord listens."""
    try:
        return bool(connect(ANSWER_SECONDS).getState()["statename"] == "RUNNING")
    except (OSError, xmlrpc.client.Error):
        return False


def serves(home: Path) -> bool:
    """Whether supervisord runs the services of this folder, and listens."""
    return supervisor.HOME.exists() and supervisor.HOME.samefile(home) and answers()


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """One boot at a time: a provider's start script and `apply` may come together."""
    lock = os.open(supervisor.RUN / "boot.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _within(seconds: float, true: Callable[[], bool]) -> bool:
    """Wait until something is so; whether it became so in time."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_SECONDS)
    return True


def _supervisord() -> int:
    """The process that supervisord's file names, if it is one; its number may be another's after a stop."""
    said = files.read(supervisor.RUN / "supervisord.pid").decode().strip()
    if not said.isdigit() or not supervisor.started(int(said)):
        return 0
    return int(said) if START.encode() in files.read(Path(f"/proc/{said}/cmdline")) else 0


def _end_supervisord(home: Path) -> None:
    """Wait for one that is about to end, or end one that does not answer: its socket is its own until then."""
    if not (pid := _supervisord()):
        return
    if answers():
        sys.exit(
            f"supervisord (process {pid}) runs the services of {os.path.realpath(supervisor.HOME)}, not of {home}: "
            f"fleet.data_root was changed on a host in use. Set it back; or end them there (kill {pid}), move what you "
            "want to keep, and apply again."
        )
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    if not _within(SHUTDOWN_SECONDS, lambda: not supervisor.started(pid)):
        sys.exit(f"supervisord (process {pid}) neither answers nor ends; end it with kill -9 {pid}, and run this again")


def _end_runners() -> None:
    """End the runners that a killed supervisord has left, and what runs below them."""
    runners = {}
    for state in supervisor.STATES.glob("*.json"):
        found = files.read_json(state)
        pid, since = found.get("runner", 0), found.get("since", 0)
        if since and supervisor.started(pid) == since:
            runners[pid] = since, _stop_seconds(state.name[: -len(".json")])

    def left() -> list[int]:
        return [pid for pid, (since, _) in runners.items() if supervisor.started(pid) == since]

    for pid in left():
        _kill(pid, signal.SIGTERM)
    if not _within(max([seconds for _, seconds in runners.values()], default=0), lambda: not left()):
        for pid in left():
            for each in (pid, *supervisor.children(pid)):
                _kill(each, signal.SIGKILL)


def _stop_seconds(unit: str) -> int:
    try:
        return int(supervisor.described(unit)["stop_seconds"]) + supervisor_programs.GRACE_SECONDS
    except (OSError, ValueError, KeyError):
        return supervisor_programs.GRACE_SECONDS


def _kill(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
