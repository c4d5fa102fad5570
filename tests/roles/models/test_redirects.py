"""The fetching program on a host leaves TLS for nobody, and shows a token to no other place than it was meant for."""

import http.server
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.roles.models.conftest import Fetcher, digest, model
from tests.roles.models.origin import Origin

MODEL = model(1, 1000)


@dataclass
class Secure:
    """An HTTPS server that redirects everything."""

    url: str = ""
    to: str = ""
    status: int = 302
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def secure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Secure]:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    made += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(made, check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    told = Secure()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told.asked.append(self.headers.get("Authorization", ""))
            self.send_response(told.status)
            self.send_header("Location", told.to)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    told.url = f"https://localhost:{server.server_port}/m"
    yield told
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_host_does_not_follow_from_https_to_http(
    status: int, secure: Secure, fetcher: Fetcher, origin: Origin
) -> None:
    secure.to, secure.status = origin.serve("/m", MODEL), status
    source = {"url": secure.url, "headers": {"Authorization": "Bearer s3cret"}}
    file = {"model": "m", "sha256": digest(MODEL), "size": len(MODEL), "sources": [source], "suffix": ".safetensors"}
    done = fetcher.run(file)
    assert (done.status, fetcher.final_names()) == (1, [])
    assert any("redirects from HTTPS to http://" in sentence for sentence in done.errors), done.errors
    assert secure.asked and set(secure.asked) == {"Bearer s3cret"}
    assert not origin.requests, "it was asked without TLS, with the token or without"
