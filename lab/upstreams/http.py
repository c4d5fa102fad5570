"""Shared parts of the stand-in servers: requests, replies, bodies with ranges."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

CHUNK = 1 << 16


@dataclass(frozen=True)
class Request:
    """One HTTP request."""

    method: str
    target: str
    """Path and query as they stood on the wire."""
    headers: Message
    body: BinaryIO
    host: str
    """The Host header: how the client names this machine."""

    @property
    def path(self) -> str:
        """The decoded path, with its leading slash."""
        return unquote(urlsplit(self.target).path)

    @property
    def raw_query(self) -> str:
        """The query as it stood on the wire."""
        return urlsplit(self.target).query

    @property
    def query(self) -> dict[str, str]:
        """The query's parameters, of several with one name the last."""
        return {name: values[-1] for name, values in parse_qs(self.raw_query).items()}

    @property
    def bearer(self) -> str | None:
        """The token of the Authorization header."""
        kind, _, token = (self.headers.get("Authorization") or "").partition(" ")
        return token if kind.lower() == "bearer" else None

    def sibling(self, port: int) -> str:
        """http://HOST:PORT of another stand-in, reached under the name that the client used for this one."""
        return f"http://{self.host.rpartition(':')[0] or self.host}:{port}"


@dataclass(frozen=True)
class Content:
    """Bytes of known length, in memory or in a file."""

    source: bytes | Path

    @property
    def size(self) -> int:
        """Length in bytes."""
        return len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size


@dataclass
class Reply:
    """One HTTP reply; a body that is an iterator is sent chunked."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: Content | Iterator[bytes] = field(default_factory=lambda: Content(b""))
    ranges: bool = False
    """Whether a Range header is honoured."""


class Application(Protocol):
    """A stand-in server: answers requests, and never raises for a bad request."""

    def __call__(self, request: Request) -> Reply:
        """The reply to `request`."""
        ...


Route = tuple[re.Pattern[str], Callable[..., Reply]]


def dispatch(routes: tuple[Route, ...], request: Request) -> Reply:
    """The reply of the first route whose pattern matches the whole path, given the pattern's named groups."""
    for pattern, answer in routes:
        if match := pattern.fullmatch(request.path):
            return answer(request, **match.groupdict())
    return text(404, "Not Found")


def text(status: int, message: str, headers: Mapping[str, str] | None = None) -> Reply:
    """A plain text reply."""
    return Reply(status, {"Content-Type": "text/plain; charset=utf-8", **(headers or {})}, Content(message.encode()))


def as_json(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """A JSON reply."""
    body = Content(json.dumps(value).encode())
    return Reply(status, {"Content-Type": "application/json; charset=utf-8", **(headers or {})}, body)


def redirect(location: str, status: int = 302, headers: Mapping[str, str] | None = None) -> Reply:
    """A redirect."""
    body = Content(f"Found. Redirecting to {location}".encode())
    return Reply(status, {"Location": location, **(headers or {})}, body)


def file(content: Content, headers: Mapping[str, str] | None = None) -> Reply:
    """A download that honours Range."""
    head = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes", **(headers or {})}
    return Reply(200, head, content, ranges=True)


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """First byte and last byte plus one of a single-range header; None if it must be ignored.

    Raises ValueError if the range lies outside `size` bytes (416).
    """
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", (header or "").strip())
    if not match or match[0] == "bytes=-":
        return None
    if not match[1]:
        start, stop = max(0, size - int(match[2])), size
    else:
        start, stop = int(match[1]), min(size, int(match[2]) + 1) if match[2] else size
    if start >= stop:
        raise ValueError(f"range {header} lies outside {size} bytes")
    return start, stop
