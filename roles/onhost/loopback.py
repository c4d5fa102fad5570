"""Asking a service on the host's loopback: it is a stranger, so its answer is bounded in time and size.

No redirect is followed and no proxy is used; a body without end, one that drips, and headers that do are cut off.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Callable
from typing import Any

LARGEST = 4_000_000
"""Bytes of an answer that are read: a list of a few thousand models takes one million."""
LARGEST_REFUSAL = 5000
SHOWN = 300
"""Characters of a refusal that are told."""
HOME = "127.0.0.1"


class AnswerError(OSError):
    """What came instead of an answer; the text goes after the path in a message."""

    def __init__(self, text: str, status: int = 0, body: bytes = b"") -> None:
        super().__init__(text)
        self.status = status
        """HTTP's; 0 if there was none."""
        self.body = body
        """How what came with another status than 200 begins."""


def ask(port: int, path: str, data: bytes | None = None, seconds: float = 10, largest: int = LARGEST) -> bytes:
    """The body of a 200, a POST of JSON if there is data. AnswerError if anything else comes within `seconds`."""
    connection = http.client.HTTPConnection(HOME, port, timeout=seconds)
    headers = {} if data is None else {"Content-Type": "application/json"}
    late = threading.Event()
    try:
        connection.connect()
        timer = threading.Timer(seconds, _cut, (connection.sock, late))
        timer.start()
        try:
            connection.request("GET" if data is None else "POST", path, data, headers)
            reply = connection.getresponse()
            body = reply.read((largest if reply.status == 200 else LARGEST_REFUSAL) + 1)
        finally:
            timer.cancel()
            connection.close()
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = str(error) or type(error).__name__
        raise AnswerError(f"gave no answer within {seconds:g} s: {reason}"[:500]) from error
    if late.is_set():
        raise AnswerError(f"gave no answer within {seconds:g} s")
    if reply.status != 200:
        raise AnswerError(f"answered {reply.status}: {body[:300].decode(errors='replace')}", reply.status, body)
    if len(body) > largest:
        raise AnswerError(f"answered with more than {largest} bytes")
    if reply.length:
        raise AnswerError("broke off in its answer")
    return body


def ask_json(
    port: int,
    path: str,
    body: Any = None,
    seconds: float = 10,
    largest: int = LARGEST,
    *,
    refusal: Callable[[Any], str],
) -> Any:
    """The JSON of a 200, a POST if there is a body. Raises AnswerError.

    + refusal: what a service says in the JSON of another answer
    """
    data = None if body is None else json.dumps(body).encode()
    try:
        answer = ask(port, path, data, seconds=seconds, largest=largest)
    except AnswerError as error:
        if not error.body:
            raise
        raise AnswerError(f"answered {error.status}: {_said(error.body, refusal)}", error.status) from error
    try:
        return json.loads(answer)
    except (ValueError, RecursionError) as error:
        raise AnswerError("sent no valid JSON") from error


def _said(body: bytes, refusal: Callable[[Any], str]) -> str:
    """What a service says by a body, or how anything else begins."""
    try:
        return refusal(json.loads(body))[:SHOWN]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return body.decode(errors="replace")[:SHOWN]


def _cut(connected: socket.socket, late: threading.Event) -> None:
    late.set()
    with contextlib.suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)
