"""Serve one stand-in on a port: HTTP/1.1, with faults, and one log line per request."""

import json
import os
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from lab.upstreams.faults import Fault, Kind, Switchboard, Throttle
from lab.upstreams.http import CHUNK, Application, Content, Reply, Request, parse_range

HTML = b"<!doctype html><html><body><h1>Welcome</h1><p>Please accept our terms to go on.</p></body></html>"
HANG_SECONDS = 600
PIECE = 1 << 20
Met = dict[Kind, tuple[Fault, Throttle]]


class Log:
    """A file of JSON lines, one per request: server, method, target, range, status, sent (bytes of the body)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Condition()
        self._open = 0
        path.parent.mkdir(parents=True, exist_ok=True)

    def begin(self) -> None:
        """A request has arrived."""
        with self._lock:
            self._open += 1

    def end(self, **entry: Any) -> None:
        """The request was answered: append its line."""
        with self._lock:
            self._open -= 1
            with self._path.open("a") as file:
                file.write(json.dumps({"time": round(time.time(), 3), **entry}) + "\n")
            self._lock.notify_all()

    def read(self, patience: float = 1.0) -> list[dict[str, Any]]:
        """All lines; waits up to `patience` seconds for requests whose answer a client may have seen already."""
        with self._lock:
            self._lock.wait_for(lambda: self._open == 0, patience)
            return [json.loads(line) for line in self._path.read_text().splitlines()] if self._path.exists() else []

    def clear(self, patience: float = 1.0) -> None:
        """Forget all lines, those of requests that end within `patience` seconds included."""
        with self._lock:
            self._lock.wait_for(lambda: self._open == 0, patience)
            self._path.unlink(missing_ok=True)


class Server:
    """One stand-in on one port; faults can close the port."""

    def __init__(
        self, name: str, address: tuple[str, int], app: Application, faults: Switchboard, log: Log | None
    ) -> None:
        self.name = name
        self.address = address
        self.app = app
        self.faults = faults
        self.log = log
        self._http: ThreadingHTTPServer | None = None

    def open(self) -> None:
        """Listen, unless it does already."""
        if self._http is None:
            self._http = _Listener(self.address, self.handler())
            threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def handler(self) -> type["Handler"]:
        """What answers a connection."""
        return type("OwnHandler", (Handler,), {"owner": self})

    def close(self) -> None:
        """Stop listening, so that connections are refused."""
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
            self._http = None


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log our own errors, but not clients that disconnect: many tests do that."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    owner: Server
    protocol_version = "HTTP/1.1"
    wbufsize = 0
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        """Silence: the log has its own format."""

    def do_GET(self) -> None:
        request = Request(self.command, self.path, self.headers, self._body(), self.headers.get("Host", ""))
        met = self.owner.faults.take(self.owner.name, self.command, request.path)
        self.sent, self.status = 0, 0
        log = self.owner.log
        if log:
            log.begin()
        try:
            if "hang" in met:
                time.sleep(HANG_SECONDS)
            if "hang" in met or "dead" in met:
                self.close_connection = True
            else:
                self._answer(self._reply(request, met), met)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            if log:
                log.end(
                    server=self.owner.name,
                    method=self.command,
                    target=self.path,
                    range=self.headers.get("Range"),
                    status=self.status,
                    sent=self.sent,
                    authorized="Authorization" in self.headers,
                )

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    def _body(self) -> BinaryIO:
        return BytesIO(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def _reply(self, request: Request, met: Met) -> Reply:
        if "status" in met:
            fault = met["status"][0]
            wait = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
            return Reply(fault.status, wait, Content(f"fault: status {fault.status}".encode()))
        if "html" in met:
            return Reply(200, {"Content-Type": "text/html; charset=utf-8"}, Content(HTML))
        if "expired" in met:
            request.headers["X-Lab-Link-Seconds"] = str(met["expired"][0].after)
        return self.owner.app(request)

    def _answer(self, reply: Reply, met: Met) -> None:
        if isinstance(reply.body, Content):
            start, stop = self._range(reply, reply.body.size, met)
            if "no_length" in met and reply.status in (200, 206):
                self.close_connection = True
            else:
                reply.headers["Content-Length"] = str(stop - start)
            self._head(reply)
            if self.command != "HEAD":
                self._send(reply.body, start, stop, met)
        else:
            # A proxy may speak HTTP/1.0, which knows no chunks.
            chunked = self.request_version != "HTTP/1.0"
            self.close_connection |= not chunked
            if chunked:
                reply.headers["Transfer-Encoding"] = "chunked"
            self._head(reply)
            if self.command != "HEAD":
                self._stream(reply.body, met, chunked)

    def _range(self, reply: Reply, size: int, met: Met) -> tuple[int, int]:
        if not reply.ranges or "no_range" in met:
            reply.headers.pop("Accept-Ranges", None)
            return 0, size
        try:
            wanted = parse_range(self.headers.get("Range"), size)
        except ValueError:
            reply.status, reply.body = 416, Content(b"")
            reply.headers["Content-Range"] = f"bytes */{size}"
            return 0, 0
        # A file that has changed must not be resumed.
        if wanted is None or self.headers.get("If-Range", reply.headers.get("ETag")) != reply.headers.get("ETag"):
            return 0, size
        reply.status = 206
        reply.headers["Content-Range"] = f"bytes {wanted[0]}-{wanted[1] - 1}/{size}"
        return wanted

    def _head(self, reply: Reply) -> None:
        self.status = reply.status
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def _send(self, content: Content, start: int, stop: int, met: Met) -> None:
        if "cut" in met and start + met["cut"][0].after < stop:
            stop = start + met["cut"][0].after
            self.close_connection = True
        encrypted = isinstance(self.connection, ssl.SSLSocket)
        if isinstance(content.source, Path) and not encrypted and not {"slow", "wrong"} & met.keys():
            with content.source.open("rb") as file:
                # In pieces, so that the log has the bytes sent when the client disconnects.
                while count := os.sendfile(self.connection.fileno(), file.fileno(), start, min(PIECE, stop - start)):
                    start += count
                    self.sent += count
            return
        for chunk in _chunks(content.source, start, stop, _step(met)):
            self._write(chunk, met)

    def _stream(self, body: Iterator[bytes], met: Met, chunked: bool) -> None:
        limit = met["cut"][0].after if "cut" in met else None
        for chunk in body:
            if limit is not None and self.sent + len(chunk) > limit:
                self.close_connection = True
                return
            self.wfile.write(b"%x\r\n" % len(chunk) if chunked else b"")
            self._write(chunk, met)
            self.wfile.write(b"\r\n" if chunked else b"")
        self.wfile.write(b"0\r\n\r\n" if chunked else b"")

    def _write(self, chunk: bytes, met: Met) -> None:
        if "wrong" in met:
            chunk = bytes(byte ^ 0x55 for byte in chunk)
        if "slow" in met:
            met["slow"][1].wait(len(chunk))
        self.wfile.write(chunk)
        self.sent += len(chunk)


def _step(met: Met) -> int:
    return max(1, min(CHUNK, met["slow"][0].rate // 20)) if "slow" in met else CHUNK


def _chunks(source: bytes | Path, start: int, stop: int, step: int) -> Iterator[bytes]:
    with BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
        file.seek(start)
        while start < stop and (chunk := file.read(min(step, stop - start))):
            yield chunk
            start += len(chunk)
