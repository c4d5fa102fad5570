"""A web server that serves files, and misbehaves on request."""

import contextlib
import ctypes
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

BLOCK = 64 * 1024
PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>"


@dataclass
class Origin:
    """A running server: what it serves, how it misbehaves, and what it was asked."""

    address: str
    port: int
    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    """Path -> fault, with an argument after a colon."""
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    rate: float = 0
    """Bytes per second of one connection; 0 is unlimited."""
    hold_after: int | None = None
    """Bytes of an answer after which nothing more comes; when this is None again, the connection is closed."""

    def url(self, path: str) -> str:
        """The address of a path."""
        return f"http://{self.address}:{self.port}{path}"

    def serve(self, path: str, content: bytes, fault: str = "") -> str:
        """Serve `content` at `path`, misbehaving; returns the URL."""
        self.files[path] = content
        self.faults[path] = fault
        return self.url(path)


def socket_in(namespace: int | None) -> socket.socket:
    """A TCP socket of another process's network namespace; only the thread that makes it goes there."""
    if namespace is None:
        return socket.socket()

    def make() -> socket.socket:
        with Path(f"/proc/{namespace}/ns/net").open() as file:
            if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), 0):
                raise OSError(ctypes.get_errno(), "setns")
        return socket.socket()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(make).result()


class _Handler(BaseHTTPRequestHandler):
    origin: Origin
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        origin, path = self.origin, self.path.partition("?")[0]
        origin.requests.append((self.path, {key.lower(): value for key, value in self.headers.items()}))
        origin.asked[path] += 1
        self.close_connection = True
        content = origin.files.get(path)
        if content is None:
            return self.answer(404, {}, b"no such file")
        fault, _, argument = origin.faults.get(path, "").partition(":")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            getattr(self, f"fault_{fault or 'none'}")(content, argument)

    def answer(self, status: int, headers: dict[str, str], body: bytes, *, length: bool = True) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if length:
            self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.body(body)

    def body(self, body: bytes) -> None:
        # A slow line has little on its way at a time: what is sent to a client that is gone is a packet or two.
        size = min(BLOCK, max(1, int(self.origin.rate / 100))) if self.origin.rate else BLOCK
        for start in range(0, len(body), size):
            held = False
            while self.origin.hold_after is not None and start >= self.origin.hold_after:
                held = True
                time.sleep(0.02)
            if held:
                return
            block = body[start : start + size]
            self.wfile.write(block)
            self.origin.sent += len(block)
            if self.origin.rate:
                time.sleep(len(block) / self.origin.rate)

    def fault_none(self, content: bytes, _: str, *, length: bool = True) -> None:
        found = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if not found:
            return self.answer(200, {"Content-Type": "application/octet-stream"}, content, length=length)
        start = int(found[1])
        if start >= len(content):
            return self.answer(416, {"Content-Range": f"bytes */{len(content)}"}, b"")
        span = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.answer(206, {"Content-Range": span}, content[start:], length=length)

    def fault_norange(self, content: bytes, _: str) -> None:
        self.answer(200, {}, content)

    def fault_nolength(self, content: bytes, _: str) -> None:
        self.fault_none(content, "", length=False)

    def fault_nolength_cut(self, content: bytes, argument: str) -> None:
        if self.origin.asked[self.path] == 1:
            return self.answer(200, {}, content[: int(argument)], length=False)
        self.fault_none(content, "", length=False)

    def fault_html(self, content: bytes, _: str) -> None:
        self.answer(200, {"Content-Type": "text/html"}, PAGE)

    def fault_hidden_html(self, content: bytes, _: str) -> None:
        self.answer(200, {"Content-Type": "application/octet-stream"}, PAGE)

    def fault_json(self, content: bytes, _: str) -> None:
        self.answer(200, {"Content-Type": "application/json"}, b'{"error": "Model is not public"}')

    def fault_wrong(self, content: bytes, _: str) -> None:
        self.fault_none(bytes(byte ^ 1 for byte in content[:16]) + content[16:], "")

    def fault_stale(self, content: bytes, _: str) -> None:
        """A cache that kept something else, and gives it unless it is told not to."""
        kept = content if self.headers.get("Cache-Control") == "no-cache" else bytes(len(content))
        self.answer(200, {"X-Cache-Status": "HIT"}, kept)

    def fault_longer(self, content: bytes, _: str) -> None:
        self.answer(200, {}, content + b"trailing", length=False)

    def fault_other_size(self, content: bytes, _: str) -> None:
        self.answer(200, {}, content + b"trailing")

    def fault_cut(self, content: bytes, argument: str) -> None:
        """Every answer ends after so many bytes, although more were promised."""
        start = int((re.match(r"bytes=(\d+)-", self.headers.get("Range", "")) or ["", "0"])[1])
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.body(content[start : start + int(argument)])

    def fault_status(self, content: bytes, argument: str) -> None:
        self.answer(int(argument), {}, b"refused")

    def fault_busy(self, content: bytes, argument: str) -> None:
        """429 once, with a Retry-After of so many seconds."""
        if self.origin.asked[self.path] == 1:
            return self.answer(429, {"Retry-After": argument}, b"")
        self.fault_none(content, "")

    def fault_redirect(self, content: bytes, argument: str) -> None:
        self.answer(302, {"Location": argument}, b"")

    def fault_expiring(self, content: bytes, argument: str) -> None:
        """Redirects to a signed address that is good for one request."""
        self.answer(307, {"Location": f"{argument}?signature={self.origin.asked[self.path]}"}, b"")

    def fault_signed(self, content: bytes, _: str) -> None:
        if self.headers.get("Authorization"):
            return self.answer(400, {}, b"only one auth mechanism allowed")
        if self.origin.asked[self.path.partition("?")[0]] == 1:
            return self.answer(403, {}, b"signature has expired")
        self.fault_none(content, "")

    def fault_silent(self, content: bytes, _: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.body(content[:BLOCK])
        time.sleep(60)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextlib.contextmanager
def running(address: str = "127.0.0.1", namespace: int | None = None) -> Iterator[Origin]:
    """A server on a free port of `address`, in the network namespace of process `namespace`."""
    handler = type("Handler", (_Handler,), {})
    server = ThreadingHTTPServer((address, 0), handler, bind_and_activate=False)
    server.socket.close()
    server.socket = socket_in(namespace)
    server.server_bind()
    server.server_activate()
    server.daemon_threads = True
    origin = Origin(address, server.server_address[1])
    handler.origin = origin  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield origin
    finally:
        server.shutdown()
        server.server_close()
