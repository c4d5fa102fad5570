"""Faults of real mirrors that a test switches on for one server or path."""

import threading
import time
from fnmatch import fnmatchcase
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Kind = Literal[
    "dead",  # the server's port is closed (connection refused); with a path, the connection is closed unanswered
    "hang",  # accepted, never answered
    "html",  # 200 and an HTML page
    "wrong",  # right length, wrong bytes
    "cut",  # Content-Length promises all, the connection ends after `after` bytes
    "slow",  # all matching downloads together get `rate` bytes per second
    "status",  # answers `status`, with Retry-After if `retry_after` is given
    "no_length",  # no Content-Length: the body ends when the connection does
    "no_range",  # Range is ignored: 200 and everything
    "expired",  # links to other hosts are signed with a time that has passed after `after` seconds
]


class Fault(BaseModel):
    """One fault and the requests that it hits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    server: str = Field(default="*", description="Server name (github, huggingface, ...); shell pattern.")
    path: str = Field(default="*", description="Decoded path; shell pattern, in which * also matches slashes.")
    method: str = Field(default="*", description="GET, HEAD, ...; shell pattern.")
    times: int | None = Field(default=None, ge=1, description="How many requests it hits; unset means all.")
    after: int = Field(default=0, ge=0, description="cut: bytes sent before the end; expired: seconds of validity.")
    rate: int = Field(default=1 << 20, ge=1, description="slow: bytes per second.")
    status: int = Field(default=503, ge=400, le=599, description="status: the code.")
    retry_after: int | None = Field(default=None, description="status: the Retry-After header, in s.")

    def hits(self, server: str, method: str, path: str) -> bool:
        """Whether it affects a request."""
        return all(map(fnmatchcase, (server, method, path), (self.server, self.method, self.path)))

    @property
    def whole_server(self) -> bool:
        """Whether it closes a server's port."""
        return self.kind == "dead" and self.path == "*" and self.method == "*"


class Throttle:
    """A rate that several connections share."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._free_at = time.monotonic()
        self._lock = threading.Lock()

    def wait(self, count: int) -> None:
        """Return when `count` more bytes may be sent."""
        with self._lock:
            self._free_at = max(self._free_at, time.monotonic()) + count / self._rate
            delay = self._free_at - time.monotonic()
        if delay > 0:
            time.sleep(delay)


class Switchboard:
    """The faults that are on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[tuple[Fault, Throttle]] = []
        self._hits: list[int] = []

    def set(self, faults: list[Fault]) -> None:
        """Replace all faults; an empty list switches them off."""
        with self._lock:
            self._faults = [(fault, Throttle(fault.rate)) for fault in faults]
            self._hits = [0] * len(faults)

    def list(self) -> list[Fault]:
        """All faults that are on."""
        with self._lock:
            return [fault for fault, _ in self._faults]

    def closed(self, server: str) -> bool:
        """Whether a server's port is to be closed."""
        return any(fault.whole_server and fnmatchcase(server, fault.server) for fault in self.list())

    def take(self, server: str, method: str, path: str) -> dict[Kind, tuple[Fault, Throttle]]:
        """The faults that a request meets, at most one of each kind; counts against their `times`."""
        met: dict[Kind, tuple[Fault, Throttle]] = {}
        with self._lock:
            for index, (fault, throttle) in enumerate(self._faults):
                spent = fault.times is not None and self._hits[index] >= fault.times
                if not spent and fault.kind not in met and fault.hits(server, method, path):
                    self._hits[index] += 1
                    met[fault.kind] = (fault, throttle)
        return met
