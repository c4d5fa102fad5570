"""What services below supervisord wrote: the part of `services.Manager` that reads their logs."""

from __future__ import annotations

import select
import sys
import time
from pathlib import Path

from roles.onhost import supervisor, unit_log

LOOK_SECONDS = 0.3
"""How long between two looks for further lines."""


def file_of(unit: str) -> Path:
    """The log of a unit; older ones are beside it, with a number."""
    return supervisor.HOME / "logs" / f"{unit}.log"


def lines(unit: str, last: int, since: float = 0.0, seconds: float | None = None) -> list[str]:
    """The last lines that a service itself wrote; files are read at once, whatever `seconds` are."""
    found = unit_log.read(file_of(unit))
    return [line.text for line in found if line.at >= int(since) and line.invocation != unit_log.OWN][-last:]


def lines_of_start(
    unit: str, most: int, longest: int, since: float | None = None, until: float | None = None
) -> list[str] | None:
    """What a service wrote since its last start."""
    invocation = supervisor.read_state(unit).get("invocation")
    found = [
        line.text[:longest]
        for line in unit_log.read(file_of(unit))
        if line.invocation == invocation and (since or 0) <= line.at <= (until or float("inf"))
    ]
    return (found[-most:] if since is not None else found[:most]) or None


def host_log(last: int) -> list[str]:
    """The last lines of all services: the host itself has no log that is known."""
    return _stamped(last, 0.0)


def own_log(last: int) -> list[str]:
    """The last lines of sdfleet's services within a day."""
    return _stamped(last, time.time() - 86400)


def _stamped(last: int, since: float) -> list[str]:
    found = []
    for file in sorted((supervisor.HOME / "logs").glob("*.log")):
        unit = file.name[: -len(".log")]
        found += [(line.at, unit_log.stamped(line, unit)) for line in unit_log.last(file, last, since)]
    return [text for _, text in sorted(found)[-last:]]


def show(unit: str, last: int, follow: bool) -> None:
    """Print a service's last lines, and with `follow` each further one until nobody reads them any more."""
    seen, size = 0.0, _size(unit)
    for line in unit_log.last(file_of(unit), last):
        print(unit_log.stamped(line, unit), flush=True)
        seen = line.at
    while follow and not _unread(LOOK_SECONDS):
        if (now := _size(unit)) == size:
            continue  # nothing to read again
        size = now
        for line in unit_log.last(file_of(unit), 10000, seen):
            if line.at > seen:
                print(unit_log.stamped(line, unit), flush=True)
                seen = line.at


def _unread(seconds: float) -> bool:
    """Wait; whether the other end of standard output is closed, which a program that writes nothing is not told."""
    reader = select.poll()
    reader.register(sys.stdout, 0)  # an end is told whatever is asked for
    return bool(reader.poll(seconds * 1000))


def _size(unit: str) -> tuple[int, int]:
    """Which file the log is now, and its bytes: they change with each line."""
    try:
        found = file_of(unit).stat()
    except FileNotFoundError:
        return 0, 0
    return found.st_ino, found.st_size
