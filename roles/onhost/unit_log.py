"""A service's log on a host without a journal: lines with time and invocation, in few files of limited size."""

from __future__ import annotations

import contextlib
import io
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

LARGEST = 8_000_000
"""Bytes of each file."""
KEPT = 3
"""Older files that are kept."""
LONGEST = 48 * 1024
"""Bytes of a line; a longer one is continued on the next."""
OWN = "-"
"""In the place of the invocation: the runner's own words."""


class Line(NamedTuple):
    """One line."""

    at: float
    """Time, in s since the epoch."""
    invocation: str
    text: str


class UnitLog:
    """The log of one unit, to write to."""

    def __init__(self, file: Path) -> None:
        self.file, self.invocation, self._part = file, OWN, b""
        self._stream: io.BufferedWriter | None = None

    def take(self, block: bytes) -> None:
        """Keep what the service wrote, a line at a time."""
        *lines, self._part = (self._part + block).split(b"\n")
        for line in lines:
            self._write(self.invocation, line)
        while len(self._part) > LONGEST:
            self._write(self.invocation, self._part[:LONGEST])
            self._part = self._part[LONGEST:]

    def flush(self) -> None:
        """Keep the last line, which may lack its end."""
        if self._part:
            self._write(self.invocation, self._part)
        self._part = b""

    def say(self, text: str) -> None:
        """Keep a word of the runner's own."""
        self._write(OWN, text.encode())

    def _write(self, invocation: str, line: bytes) -> None:
        with contextlib.suppress(OSError):  # a full disk stops no service
            stream = self._opened()
            if stream.tell() > LARGEST:
                with contextlib.suppress(OSError):  # without room for a new file the old one goes on
                    stream = self._turn(stream)
            stream.write(f"{time.time():.6f} {invocation} ".encode() + line + b"\n")
            stream.flush()

    def _opened(self) -> io.BufferedWriter:
        if self._stream is None or self._stream.closed:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self._stream = self.file.open("ab")
        return self._stream

    def _turn(self, old: io.BufferedWriter) -> io.BufferedWriter:
        fresh = self.file.with_name(f".{self.file.name}.new")
        stream = fresh.open("wb")
        for number in range(KEPT, 0, -1):
            older = self.file.with_name(f"{self.file.name}.{number}")
            newer = self.file.with_name(f"{self.file.name}.{number - 1}") if number > 1 else self.file
            if newer.exists():
                newer.replace(older)
        fresh.replace(self.file)
        self._stream = stream
        with contextlib.suppress(OSError):
            old.close()
        return stream


def read(file: Path) -> Iterator[Line]:
    """All lines of a log, the oldest first."""
    for place in [*(file.with_name(f"{file.name}.{number}") for number in range(KEPT, 0, -1)), file]:
        with contextlib.suppress(OSError), place.open("rb") as stream:
            for raw in stream:
                if line := parse(raw):
                    yield line


def parse(raw: bytes) -> Line | None:
    """One line; None for one that was cut off."""
    at, _, rest = raw.rstrip(b"\n").decode(errors="replace").partition(" ")
    invocation, _, text = rest.partition(" ")
    try:
        return Line(float(at), invocation, text)
    except ValueError:
        return None


def last(file: Path, most: int, since: float = 0.0) -> list[Line]:
    """The last lines of a log."""
    return list(deque((line for line in read(file) if line.at >= since), maxlen=most))


def stamped(line: Line, name: str) -> str:
    """A line with its time, as journalctl prints it."""
    zone = time.strftime("%z", time.localtime(line.at))
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.localtime(line.at))}{zone} {name}: {line.text}"
