"""Hostile answers of a service, to whatever root or the controller asks of it."""

import json
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from deploy.onhost import gate, observe
from roles.facts import http_commands
from roles.onhost import loopback, refresh_models, webui_api, webui_picture
from roles.onhost.drawing_applications import APPLICATIONS
from roles.onhost.png_pixels import PictureError

pytestmark = pytest.mark.slow

TREE = Path(__file__).resolve().parents[2]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
Hostile = Callable[[socket.socket], None]


def _for_ever(first: bytes, again: bytes, pause: float = 0) -> Hostile:
    def send(to: socket.socket) -> None:
        to.sendall(first)
        while True:
            to.sendall(again)
            time.sleep(pause)

    return send


HOSTILE: dict[str, Hostile] = {
    "a body without end": _for_ever(HEAD + b"\r\n[", b"1," * 50_000),
    "chunks without end": _for_ever(
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"1" * 65536 + b"\r\n"
    ),
    "a body that drips": _for_ever(HEAD + b"Content-Length: 100000\r\n\r\n", b"1", 0.2),
    "headers without end": _for_ever(HEAD, b"X-More: " + b"y" * 4000 + b"\r\n"),
    "headers that drip": _for_ever(HEAD + b"X: ", b"y", 0.2),
    "a status line that drips": _for_ever(b"HTTP/1.1 ", b"2", 0.2),
    "silence": _for_ever(b"", b"", 1),
    "a redirect": lambda to: to.sendall(
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/x\r\nContent-Length: 0\r\n\r\n"
    ),
    "no HTTP": lambda to: to.sendall(b"\x00\xff" * 1000),
    "a huge length": lambda to: to.sendall(HEAD + b"Content-Length: 99999999999999999999\r\n\r\n[]"),
    "nested lists": lambda to: to.sendall(HEAD + b"Content-Length: 2000000\r\n\r\n" + b"[" * 2_000_000),
}


@pytest.fixture
def serve() -> Iterator[Callable[[Hostile], int]]:
    """Starts a service that answers so; its port."""
    open_ones: list[socket.socket] = []

    def start(answer: Hostile) -> int:
        listening = socket.create_server(("127.0.0.1", 0))
        open_ones.append(listening)

        def one(connected: socket.socket) -> None:
            with suppress(OSError), connected:
                connected.recv(65536)
                answer(connected)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=one, args=(listening.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        return int(listening.getsockname()[1])

    yield start
    for listening in open_ones:
        listening.close()


@pytest.mark.parametrize("name", HOSTILE)
def test_programs_on_hosts_hear_no_more_than_they_asked_for(
    name: str, serve: Callable[[Hostile], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, began = serve(HOSTILE[name]), time.monotonic()
    with pytest.raises(gate.GateError):
        gate._ask(port, "/x", {}, 1.5, "models")
    real = loopback.ask
    monkeypatch.setattr(loopback, "ask", lambda port, path, *_, **__: real(port, path, seconds=1.5))
    assert not any(observe._answers(app, port) for app in APPLICATIONS.values())
    assert time.monotonic() - began < 12


@pytest.mark.parametrize("name", HOSTILE)
def test_checks_read_no_more_than_they_may(
    name: str, serve: Callable[[Hostile], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_commands, "CURL", http_commands.CURL.replace(f"-m {http_commands.SECONDS}", "-m 2"))
    url = f"http://127.0.0.1:{serve(HOSTILE[name])}/x"
    began = time.monotonic()
    for command in (http_commands.body(url), http_commands.statuses([url])):
        done = subprocess.run(["sh", "-c", command], capture_output=True, timeout=30)
        assert len(done.stdout) <= http_commands.LARGEST
    assert time.monotonic() - began < 20
    assert done.stdout.strip() != b"404"


def test_a_plain_answer_comes_through(serve: Callable[[Hostile], int]) -> None:
    port = serve(lambda to: to.sendall(HEAD + b'Content-Length: 6\r\n\r\n["ok"]'))
    assert loopback.ask(port, "/x") == b'["ok"]'
    url = f"http://127.0.0.1:{port}/x"
    assert subprocess.check_output(["sh", "-c", http_commands.body(url)]) == b'["ok"]'
    assert subprocess.check_output(["sh", "-c", http_commands.statuses([url, url])]) == b"200\n200\n"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"error": "OSError", "detail": "", "body": "", "errors": "no such file"}, "OSError: no such file"),
        ({"error": "HTTPException", "detail": "Sampler not found", "body": "", "errors": ""}, "Sampler not found"),
        ({"error": "ValueError", "detail": "", "body": "", "message": "no model"}, "ValueError: no model"),
        ({"detail": "Sampler not found"}, "Sampler not found"),
    ],
    ids=["WebUI", "WebUI's own", "Forge Neo", "Forge Neo's own"],
)
def test_why_nothing_was_drawn_is_told(said: Mapping[str, str], told: str, serve: Callable[[Hostile], int]) -> None:
    body = json.dumps(said).encode()
    head = f"HTTP/1.1 500 Oh\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    port = serve(lambda to: to.sendall(head + body))
    with pytest.raises(PictureError, match=f"^the WebUI drew nothing, it answered 500: .*{told}"):
        webui_picture.draw(port, 5)


@pytest.mark.parametrize("name", HOSTILE)
def test_the_webui_cannot_hold_what_waits_for_its_answer(name: str, serve: Callable[[Hostile], int]) -> None:
    port, began = serve(HOSTILE[name]), time.monotonic()
    with suppress(loopback.AnswerError):
        webui_api.tell(port, "unload-checkpoint", 1.5)
        assert name == "nested lists", "a small answer, of which nothing is read"
    with pytest.raises(PictureError):
        webui_picture.draw(port, 1.5)
    assert time.monotonic() - began < 12


@pytest.mark.parametrize("name", HOSTILE)
def test_a_webui_that_is_told_of_models_cannot_hold_an_apply(
    name: str,
    serve: Callable[[Hostile], int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    state = tmp_path / "state.json"
    state.write_text('{"ready": true}')
    monkeypatch.setattr(refresh_models, "SECONDS", 1.5)
    monkeypatch.setattr("sys.argv", ["refresh_models", "webui", f"--port={serve(HOSTILE[name])}", f"--state={state}"])
    began = time.monotonic()
    refresh_models.main()
    assert time.monotonic() - began < 20
    told = capsys.readouterr().err
    assert name == "nested lists" or all(f"refresh-{kind} " in told for kind in webui_api.KINDS), told


def test_nothing_asks_a_service_in_another_way() -> None:
    checks = [file for file in TREE.glob("roles/*/verify.py") if re.search(r"\bcurl\b", file.read_text())]
    of_services = re.compile(r"urlopen|build_opener|HTTPConnection")
    asks_elsewhere = {"examine.py", "apt_key.py", "build_wheels.py", "loopback.py", "supervisor_rpc.py"}
    """What the doctor, and who fetches a key or a source, ask is no service; they read so many bytes each. supervisord
    is root's own, at a socket of root's."""
    programs = [
        file
        for folder in ("deploy/onhost", "roles/onhost")
        for file in (TREE / folder).glob("*.py")
        if of_services.search(file.read_text()) and file.name not in asks_elsewhere
    ]
    assert not [*checks, *programs], "use roles/facts/http_commands.py or roles/onhost/loopback.py"


@pytest.mark.parametrize("body", [b"<html>", b"\xff\xff", b"[" * 200_000])
def test_an_answer_that_is_no_json_is_told_as_that(body: bytes, serve: Callable[[Hostile], int]) -> None:
    port = serve(lambda to: to.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body))
    with pytest.raises(gate.GateError) as told:
        gate._ask(port, "/x", None, 5, "health")
    assert told.value.args == ("health", "/x sent no valid JSON")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            b'{"error":"RuntimeError","detail":"","body":"","errors":"no tile for this picture"}',
            "RuntimeError: no tile for this picture",
        ),
        (b'{"error":"HTTPException","detail":"Not found","errors":""}', "HTTPException: Not found"),
        (b"<html>busy", "<html>busy"),
        (b"[1]", "[1]"),
        (b'{"error":', '{"error":'),
    ],
)
def test_a_refused_picture_is_told_in_the_webuis_words(body: bytes, said: str, serve: Callable[[Hostile], int]) -> None:
    head = b"HTTP/1.1 500 Oops\r\nContent-Length: %d\r\n\r\n" % len(body)
    with pytest.raises(PictureError) as told:
        webui_picture.draw(serve(lambda to: to.sendall(head + body)), 5)
    assert str(told.value) == f"the WebUI drew nothing, it answered 500: {said}"
