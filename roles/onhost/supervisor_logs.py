"""What services below supervisord wrote: the part of `services.Manager` that reads their logs."""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from roles.onhost import supervisor, unit_log

LOOK_SECONDS = 0.3


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


def place_of_log(unit: str) -> str:
    """Where a person finds a unit's log."""
    return os.path.realpath(file_of(unit))


def show(unit: str, last: int, follow: bool) -> None:
    """Print a service's last lines, and with `follow` each further one until nobody reads them any more."""
    followed = Follower(file_of(unit)) if follow else None  # first: what is written meanwhile is in both
    seen = 0.0
    with contextlib.suppress(BrokenPipeError):
        for line in unit_log.last(file_of(unit), last):
            print(unit_log.stamped(line, unit), flush=True)
            seen = line.at
        while followed and not _left(LOOK_SECONDS):
            for line in followed.fresh():
                if line.at > seen:
                    print(unit_log.stamped(line, unit), flush=True)
        return
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python flushes its output once more at its end


def _left(seconds: float) -> bool:
    """Wait; whether nobody reads our output any more by then."""
    hears = select.poll()
    hears.register(1, 0)
    return bool(hears.poll(seconds * 1000))


class Follower:
    """What is added to a log, through the change of its files."""

    def __init__(self, file: Path) -> None:
        """Begin at the end of the log, which need not be there yet."""
        self.file = file
        self.stream = self._opened()
        if self.stream:
            self.stream.seek(0, os.SEEK_END)

    def _opened(self) -> BinaryIO | None:
        with contextlib.suppress(FileNotFoundError):
            return self.file.open("rb")
        return None

    def fresh(self) -> Iterator[unit_log.Line]:
        """The whole lines that have come since."""
        while True:
            newer = self._newer()
            yield from self._rest()
            if newer is None:
                return
            self.stream = newer

    def _newer(self) -> BinaryIO | None:
        """The log's file, if it is another by now."""
        with contextlib.suppress(FileNotFoundError):
            if self.stream is None or not os.path.samestat(self.file.stat(), os.fstat(self.stream.fileno())):
                return self._opened()
        return None

    def _rest(self) -> Iterator[unit_log.Line]:
        while self.stream and (raw := self.stream.readline()):
            if not raw.endswith(b"\n"):
                self.stream.seek(-len(raw), os.SEEK_CUR)
                return
            if line := unit_log.parse(raw):
                yield line
