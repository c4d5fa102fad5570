"""A small forward proxy: GET of whole URLs and CONNECT, perhaps with a login; it keeps the lines that it was asked.

`python forward_proxy.py PORT LOG [LOGIN]` runs it where only Python is.
"""

import base64
import select
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit


class ForwardProxy(ThreadingHTTPServer):
    """Listens at once; `places` says where names really are: name -> (address, port)."""

    daemon_threads = True

    def __init__(
        self,
        at: tuple[str, int] = ("127.0.0.1", 0),
        places: "dict[str, tuple[str, int]] | None" = None,
        login: str = "",
        log: "Path | None" = None,
    ) -> None:
        super().__init__(at, _Handler)
        self.places, self.login, self.log = places or {}, login, log
        self.asked: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """What http_proxy must say."""
        login = f"{self.login}@" if self.login else ""
        return f"http://{login}127.0.0.1:{self.server_address[1]}"

    def note(self, line: str) -> None:
        """Keep what was asked."""
        self.asked.append(line)
        if self.log:
            with self.log.open("a") as file:
                file.write(f"{line}\n")


class _Handler(BaseHTTPRequestHandler):
    server: ForwardProxy
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if not self._open(f"{self.command} {parts.scheme}://{parts.netloc}{parts.path}"):
            return
        there = self._reach(parts.hostname or "", parts.port or 80)
        if there is None:
            return
        path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
        kept = [f"{name}: {value}" for name, value in self.headers.items() if not name.lower().startswith("proxy-")]
        head = [
            f"{self.command} {path} HTTP/1.0",
            *(line for line in kept if not line.lower().startswith("connection")),
        ]
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.close_connection = True
        there.sendall("\r\n".join([*head, "Connection: close", "", ""]).encode() + body)
        while part := there.recv(65536):
            self.wfile.write(part)
        there.close()

    do_HEAD = do_POST = do_GET

    def do_CONNECT(self) -> None:
        name, _, port = self.path.rpartition(":")
        if not self._open(f"CONNECT {self.path}"):
            return
        there = self._reach(name, int(port))
        if there is None:
            return
        self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        pair = {self.connection: there, there: self.connection}
        while True:
            for one in select.select(list(pair), [], [], 60)[0]:
                part = one.recv(65536)
                if not part:
                    there.close()
                    self.close_connection = True
                    return
                pair[one].sendall(part)

    def _open(self, line: str) -> bool:
        """Whether the login is right; what is asked is noted in any case."""
        wanted = "Basic " + base64.b64encode(self.server.login.encode()).decode()
        if self.server.login and self.headers.get("Proxy-Authorization") != wanted:
            self.server.note(f"407 {line}")
            self.send_response(407)
            self.send_header("Proxy-Authenticate", 'Basic realm="proxy"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return False
        self.server.note(line)
        return True

    def _reach(self, name: str, port: int) -> "socket.socket | None":
        try:
            return socket.create_connection(self.server.places.get(name, (name, port)), 20)
        except OSError:
            self.send_error(502)
            return None

    def log_message(self, *_: object) -> None:
        """Nothing on standard error."""


if __name__ == "__main__":
    ForwardProxy(("0.0.0.0", int(sys.argv[1])), login="".join(sys.argv[3:]), log=Path(sys.argv[2]))
    threading.Event().wait()
