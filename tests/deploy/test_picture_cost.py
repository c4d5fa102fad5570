"""What is measured of a service that draws: its pictures' time without that of others, and peaks of memory."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from deploy.onhost import gate, picture_cost
from roles.onhost import services

MB = 1 << 20
ANSWERS: dict[str, Any] = {}
"""Path -> what the service answers: JSON, or something that makes it."""


class Service(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        found = ANSWERS.get(self.path.partition("?")[0])
        found = found() if callable(found) else found
        body = json.dumps(found).encode()
        self.send_response(200 if found is not None else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    """A service that draws nothing for others, on a host without a card."""
    ANSWERS.clear()
    ANSWERS["/sdapi/v1/progress"] = {"state": {"job_count": 0}}
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Iterator["subprocess.Popen[str]"]:
    """The service's process, which has taken 300 MB once; at each line that it reads it takes 100 MB for a moment."""
    takes = "x = b'x' * {}; del x; print(flush=True)"
    code = f"{takes.format(300 * MB)}\nwhile input():\n  {takes.format(100 * MB)}"
    words = [sys.executable, "-c", code]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout
        started.stdout.readline()
        monkeypatch.setattr(services, "value", lambda *_: str(started.pid))
        yield started
        started.kill()


def test_the_peak_is_that_of_the_pictures_and_not_of_what_was_asked_before(
    port: int, process: "subprocess.Popen[str]"
) -> None:
    def draw() -> None:
        assert process.stdin and process.stdout
        process.stdin.write("draw\n")
        process.stdin.flush()
        process.stdout.readline()

    seen = picture_cost.measured("webui", "x.service", port, draw, 3)
    assert len(seen["took"]) == 3 and seen["card"] == 0
    assert 100 * MB < seen["processes"] < 200 * MB


@pytest.mark.parametrize("app", ["webui", "comfyui"])
def test_the_card_is_looked_at_while_a_picture_is_made(app: str, port: int, process: object) -> None:
    held = [2000]

    ANSWERS["/sdapi/v1/memory"] = lambda: {"cuda": {"reserved": {"current": held[0], "peak": 99999}}}
    ANSWERS["/system_stats"] = lambda: {"devices": [{"type": "cuda", "torch_vram_total": held[0]}]}
    ANSWERS["/prompt"] = {"exec_info": {"queue_remaining": 0}}
    ANSWERS["/history"] = {}

    def draw() -> None:
        held[0] = 5000
        time.sleep(0.3)
        held[0] = 2000

    assert picture_cost.measured(app, "x.service", port, draw, 1)["card"] == 5000
    ANSWERS["/sdapi/v1/memory"] = {"cuda": {"error": "unavailable"}}
    ANSWERS["/system_stats"] = {"devices": [{"type": "cpu", "torch_vram_total": 7000}]}
    assert picture_cost.measured(app, "x.service", port, draw, 1)["card"] == 0


def test_a_card_that_does_not_answer_for_a_moment_is_looked_at_further(port: int, process: object) -> None:
    held = [None, 2000, None]  # None is answered with 404

    def memory() -> Any:
        now = held.pop(0) if held else 5000
        return now and {"cuda": {"reserved": {"current": now}}}

    ANSWERS["/sdapi/v1/memory"] = memory
    assert picture_cost.measured("webui", "x.service", port, lambda: time.sleep(0.8), 1)["card"] == 5000


def test_pictures_of_others_are_waited_for(port: int, process: object) -> None:
    until = time.monotonic() + 0.5
    ANSWERS["/sdapi/v1/progress"] = lambda: {"state": {"job_count": int(time.monotonic() < until)}}
    began = time.monotonic()
    (took,) = picture_cost.measured("webui", "x.service", port, lambda: time.sleep(0.01), 1)["took"]
    assert took < 0.3 and time.monotonic() - began > 0.5


@pytest.mark.parametrize("alone", [0, 1])
def test_what_draws_for_others_all_the_time_is_not_measured(
    alone: int, port: int, process: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_cost, "IDLE_SECONDS", 0.3)
    drawn: list[int] = []
    ANSWERS["/sdapi/v1/progress"] = lambda: {"state": {"job_count": int(len(drawn) >= alone)}}
    seen = picture_cost.measured("webui", "x.service", port, lambda: drawn.append(1), 3)
    assert seen == {"unmeasured": picture_cost.BUSY} and len(drawn) == alone


def test_slow_pictures_are_fewer(port: int, process: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_cost, "MEASURE_SECONDS", 0.1)
    assert len(picture_cost.measured("webui", "x.service", port, lambda: time.sleep(0.2), 5)["took"]) == 1


def test_a_further_picture_that_fails_shuts_no_gate(
    port: int, process: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    drawn: list[int] = []

    def draw(port: int, seconds: float) -> tuple[str, str]:
        drawn.append(port)
        if len(drawn) > 2:
            raise gate.GateError("picture", "/sdapi/v1/txt2img answered 500")
        return "sd15", "a picture"

    seen = gated(draw, port, monkeypatch, tmp_path)
    assert (seen["failed"], seen["picture"]) == ("", "a picture") and "took" not in seen
    assert seen["unmeasured"] == "/sdapi/v1/txt2img answered 500"


@pytest.mark.parametrize("runs", [[["lora-train@ink.service"], []], [[], ["lora-train@ink.service"]]])
def test_beside_a_training_nothing_is_measured(
    runs: list[list[str]], port: int, process: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen = gated(lambda *_: ("sd15", "a picture"), port, monkeypatch, tmp_path, lambda: runs.pop(0))
    assert (seen["failed"], seen["picture"]) == ("", "a picture") and "took" not in seen
    assert seen["unmeasured"] == "a training was at work there: lora-train@ink.service"


def gated(
    draw: Callable[..., tuple[str, str]],
    port: int,
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    runs: Callable[[], list[str]] = list,
) -> dict[str, Any]:
    """What the gate sees of a service that draws so, beside these runs."""
    service = {"fingerprint": "f", "problem": "", "process": "active 0 9"}
    for name, value in {
        "_watch": lambda *_: service,
        "_draw": draw,
        "_png": lambda drawn, _: ("png", drawn),
        "_same_process": lambda *_: None,
        "_journal_errors": lambda *_: {},
        "active_units": runs,
    }.items():
        monkeypatch.setattr(gate, name, value)
    return gate.main("webui", str(folder), "x.service", "state", port, 0, 0, 9, [], pictures=3)
