"""A host whose uses tests choose: what trains, draws and holds locks."""

import fcntl
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from roles.onhost import gpus, host_stop, host_use, services, transfers


class Webui:
    """A WebUI that is asked what it does."""

    def __init__(self) -> None:
        self.job_count, self.timestamp, self.waiting, self.status = 0, "0", 0, 200
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                told: Any = {"state": {"job_count": owner.job_count, "job_timestamp": owner.timestamp}}
                if self.path == "/internal/pending-tasks":
                    told = {"size": owner.waiting, "tasks": []}
                body = json.dumps(told).encode()
                self.send_response(owner.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Manager:
    """A service manager of which only the runs are asked."""

    runs: tuple[str, ...] = ()
    webui = "active"
    restarts = 0

    def active(self, pattern: str) -> list[str]:
        assert pattern == "lora-train@*"
        return list(self.runs)


@pytest.fixture
def webui() -> Iterator[Webui]:
    made = Webui()
    yield made
    made.server.shutdown()


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Manager:
    """A host without cards, on which nothing happens."""
    made = Manager()
    monkeypatch.setattr(services, "manager", lambda: made)
    told = {"ActiveState": lambda: made.webui, "NRestarts": lambda: str(made.restarts)}
    monkeypatch.setattr(services, "shown", lambda unit, *names: {name: told[name]() for name in names})
    monkeypatch.setattr(gpus, "rows", lambda *_: [])
    monkeypatch.setattr(host_use, "PROCESSES", tmp_path / "processes")
    monkeypatch.setattr(host_use, "DEVICES", tmp_path / "devices")
    monkeypatch.setattr(transfers, "LOCK", tmp_path / "transfers")
    monkeypatch.setattr(host_use, "STEPS", tmp_path / "steps")
    monkeypatch.setattr(host_stop, "LOCK", tmp_path / "lock")
    (tmp_path / "store").mkdir()
    for name in ("steps", "store/lock"):
        (tmp_path / name).touch()
    return made


@pytest.fixture
def use(webui: Webui, manager: Manager, tmp_path: Path) -> host_use.Use:
    made = host_use.Use(tmp_path, {"webui": webui.server.server_address[1], "comfyui": 0})
    assert made.look() == ([], [])
    return made


def locked(file: Path, how: int) -> int:
    """Hold the lock of a file with a descriptor, which is returned."""
    opened = os.open(file, os.O_RDWR | os.O_CREAT)
    fcntl.flock(opened, how)
    return opened
