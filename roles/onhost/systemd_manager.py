"""systemd as a service manager (see `services.Manager`)."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from roles.onhost import systemd
from roles.onhost.commands import checked, output

NAME = "systemd"
VERBS = {"reload": "daemon-reload"}
"""Verbs that systemctl calls by another name."""
NO_REASON = ("Warning:", "See ")
"""Lines of systemctl that do not say why it failed begin so."""
FILES = Path("/etc/systemd/system")
"""`roles.paths.UNITS`."""
OURS = ("--unit=sdfleet-*", "--unit=lora-train@*")
NEWEST_FIRST = "--reverse"
"""With --since alone, journalctl's --lines would be the first ones after that time."""
LOG_SECONDS = 60
"""How long the doctor waits for the list of failed units, or for a log of the host."""
READ_SECONDS = 20
"""How long a part of the journal is read."""


def shown(unit: str, *names: str) -> dict[str, str]:
    """Properties of a unit."""
    return systemd.shown(unit, *names)


def value(unit: str, name: str) -> str:
    """One property of a unit."""
    return systemd.value(unit, name)


def attempt(verb: str, *units: str, now: bool = False, wait: bool = True) -> str:
    """Do `verb`; why that failed."""
    options = ["--quiet"] if verb in ("enable", "disable") else ["--signal=KILL"] if verb == "kill" else []
    options += ["--now"] if now else []
    options += [] if wait else ["--no-block"]
    command = ["systemctl", VERBS.get(verb, verb), *options, *units]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    if not done.returncode:
        return ""
    said = done.stderr.decode(errors="replace").splitlines()
    why = [line for line in said if line.strip() and not line.startswith(NO_REASON)]
    return "\n".join(why) or f"it ended with status {done.returncode}"


def active(pattern: str) -> list[str]:
    """Names of the units that are active or being started."""
    words = ("systemctl", "list-units", "--plain", "--no-legend", "--state=active,activating", pattern)
    return _first_words(checked(*words))


def failed() -> list[str]:
    """Names of the units that have failed."""
    return _first_words(output("systemctl", "list-units", "--failed", "--plain", "--no-legend", seconds=LOG_SECONDS))


def unit_files() -> list[Path]:
    """The files of sdfleet's units."""
    return sorted(file for pattern in ("sdfleet-*", "lora-train@*") for file in FILES.glob(pattern) if file.is_file())


def _first_words(listed: str) -> list[str]:
    return [line.split()[0] for line in listed.splitlines() if line.strip()]


def lines(unit: str, last: int, since: float = 0.0, seconds: float | None = None) -> list[str]:
    """The last lines that a service itself wrote, without systemd's own."""
    words = ["journalctl", f"_SYSTEMD_UNIT={unit}", f"--lines={last}", "--output=cat", "--no-pager", "--quiet"]
    if not since:
        return output(*words, "--boot", seconds=seconds).splitlines()
    return output(*words, f"--since=@{int(since)}", NEWEST_FIRST, seconds=seconds).splitlines()[::-1]


def lines_of_start(
    unit: str, most: int, longest: int, since: float | None = None, until: float | None = None
) -> list[str] | None:
    """What a service wrote since its last start."""
    try:
        invocation = systemd.shown(unit, "InvocationID").get("InvocationID")
    except TimeoutError:
        return None
    if not invocation:
        return None
    command = ["journalctl", f"_SYSTEMD_INVOCATION_ID={invocation}", "--output=cat", "--no-pager"]
    command += [f"--since=@{since:.6f}", NEWEST_FIRST] if since is not None else []
    command += [f"--until=@{until:.6f}"] if until is not None else []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as reading:
        assert reading.stdout is not None
        limit = threading.Timer(READ_SECONDS, reading.kill)
        limit.start()
        found = list(_lines(reading.stdout, most, longest))
        limit.cancel()
        reading.kill()
    if since is not None:
        found.reverse()
    return found or None


def _lines(stream: IO[bytes], most: int, longest: int) -> Iterator[str]:
    """The beginnings of the first lines; a line may be longer than the memory."""
    for _ in range(most):
        line = piece = stream.readline(longest)
        if not line:
            return
        while piece and not piece.endswith(b"\n"):
            piece = stream.readline(1 << 16)
        yield line.rstrip(b"\n").decode(errors="replace")


def host_log(last: int) -> list[str]:
    """The last lines of the host since it booted."""
    return _stamped(f"--lines={last}")


def own_log(last: int) -> list[str]:
    """The last lines of sdfleet's services within a day."""
    return _stamped("--since=-1d", f"--lines={last}", NEWEST_FIRST, *OURS)[::-1]


def _stamped(*words: str) -> list[str]:
    return output("journalctl", "--boot", "--no-pager", "--output=short-iso", *words, seconds=LOG_SECONDS).splitlines()


def place_of_log(unit: str) -> str:
    """Where a person finds a unit's log."""
    return f"journalctl -u {unit}"


def show(unit: str, last: int, follow: bool) -> None:
    """Print a service's last lines, and with `follow` each further one."""
    command = ["journalctl", f"--unit={unit}", f"--lines={last}", "--no-pager", "--output=short-iso"]
    # Python ignores it, and journalctl would go on when nobody reads any more.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execvp(command[0], [*command, *(["--follow"] if follow else [])])
