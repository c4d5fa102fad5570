"""Asking a mirror, against servers as they are."""

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from deploy.onhost.examine import SAMPLE, _ask


class Mirror(BaseHTTPRequestHandler):
    """A hub that turns away Python's own name, and knows a few paths."""

    def do_GET(self) -> None:
        if self.path == "/garbage":
            self.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")
            return
        urllib = self.headers["User-Agent"].startswith("Python-urllib")
        self.send_response(403 if urllib else 200 if self.path == "/file" else 404)
        self.send_header("Content-Length", str(2 * SAMPLE))
        self.end_headers()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # nobody reads more than a sample
            self.wfile.write(bytes(SAMPLE + 1_000_000))

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def mirror() -> Iterator[str]:
    """Its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Mirror) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_sample_tells_latency_and_throughput(mirror: str) -> None:
    answer = _ask(f"{mirror}/file", 5)
    assert answer["status"] == 200
    assert SAMPLE <= answer["size"] < SAMPLE + 65536, "no more than a sample is taken"
    assert 0 < answer["latency"] < 5 and answer["rate"] > 1


def test_what_is_no_answer_has_a_reason(mirror: str) -> None:
    assert _ask(f"{mirror}/other", 5)["status"] == 404
    assert _ask(f"{mirror}/garbage", 5) | {"reason": ""} == {**_ask("http://127.0.0.1:9/", 5), "reason": ""}
    assert "refused" in _ask("http://127.0.0.1:9/", 5)["reason"]
    assert "SSH-2.0" in _ask(f"{mirror}/garbage", 5)["reason"]
