"""When a host counts as idle, by clocks that tests turn."""

import argparse
import fcntl
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from roles.onhost import gpus, host_stop, host_use, idle_stop, provider, services, transfers
from roles.onhost.idle_stop import AGAIN_SECONDS, PAUSED_SECONDS, Idle

LIMIT = 1800.0


@pytest.mark.parametrize(
    ("looks", "over"),
    [
        ([(15, False)], False),
        ([(t, False) for t in range(15, 1801, 15)], True),
        ([(t, False) for t in range(15, 1800, 15)], False),  # a moment too early
        ([(t, t == 1500) for t in range(15, 3300, 15)], False),  # drawn in between: the time begins anew
        ([(t, t == 1500) for t in range(15, 3301, 15)], True),
        ([(t, t < 9000) for t in range(15, 9001, 15)], False),  # trained for long, and has just ended
        ([(15, False), (15 + PAUSED_SECONDS + 5000, False)], False),  # the provider froze the container
    ],
)
def test_a_host_is_idle_when_every_look_for_so_long_found_nothing(looks: list[tuple[float, bool]], over: bool) -> None:
    idle = Idle(LIMIT, 0.0)
    assert [idle.used(now, used) for now, used in looks][-1] is over


def test_a_stop_that_did_not_work_is_tried_again_later() -> None:
    idle = Idle(LIMIT, 0.0)
    ended = [t for t in range(15, 1801, 15) if idle.used(t, False)]
    idle.again(1800)
    again = [t for t in range(1815, 4000, 15) if idle.used(t, False)]
    assert (ended[0], again[0]) == (1800, 1800 + AGAIN_SECONDS)


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
    monkeypatch.setattr(services, "value", lambda unit, name: made.webui)
    monkeypatch.setattr(gpus, "rows", lambda *_: [])
    monkeypatch.setattr(transfers, "LOCK", tmp_path / "transfers")
    monkeypatch.setattr(host_use, "STEPS", tmp_path / "steps")
    monkeypatch.setattr(host_stop, "LOCK", tmp_path / "lock")
    (tmp_path / "store").mkdir()
    for name in ("steps", "store/lock"):
        (tmp_path / name).touch()
    return made


@pytest.fixture
def use(webui: Webui, manager: Manager, tmp_path: Path) -> host_use.Use:
    made = host_use.Use(tmp_path, webui.server.server_address[1])
    assert made.look() == ([], [])
    return made


def test_what_trains_or_waits_for_its_turn_is_named(use: host_use.Use, manager: Manager) -> None:
    manager.runs = ("lora-train@ink-1.service", "lora-train@ink.2.service")
    said = "trains, or waits for its turn"
    assert use.look() == ([f"ink-1 {said}", f"ink.2 {said}"], [])


def test_a_picture_counts_even_if_it_came_and_went_between_two_looks(use: host_use.Use, webui: Webui) -> None:
    webui.job_count = -1  # as the genuine one says while it loads the model for it
    assert use.look()[0] == ["the WebUI draws"]
    webui.job_count = 0
    assert use.look()[0] == []
    webui.timestamp = "20261128084512"
    assert use.look()[0] == ["the WebUI has drawn"]
    assert use.look()[0] == []
    webui.waiting = 2
    assert use.look()[0] == ["2 picture(s) wait in the WebUI's queue"]


def test_a_webui_is_not_asked_while_it_starts_and_what_it_hides_is_not_known(
    use: host_use.Use, webui: Webui, manager: Manager
) -> None:
    webui.status = 500
    sure, unsure = use.look()
    assert sure == [] and "the WebUI may be drawing: it answered 500" in unsure[0]
    manager.webui = "activating"
    assert use.look() == (["the WebUI starts"], [])
    manager.webui = "inactive"
    assert use.look() == ([], [])


def test_a_card_that_computes_is_in_use_whoever_it_is(use: host_use.Use, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "rows", lambda *_: [["0", "0"], ["1", "97"], ["2", "[N/A]"]])
    assert use.look() == (["GPU 1 computes"], [])


def test_trainings_that_cannot_be_listed_count_as_there(
    use: host_use.Use, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hangs(*_: object) -> list[str]:
        raise TimeoutError("systemctl did not answer within 30 s")

    monkeypatch.setattr(manager, "active", hangs)
    assert use.look() == (["what runs is not known: systemctl did not answer within 30 s"], [])


def test_a_driver_that_hangs_is_no_use(use: host_use.Use, monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(*_: object) -> list[list[str]]:
        raise TimeoutError("nvidia-smi did not answer within 30 s")

    monkeypatch.setattr(gpus, "rows", hangs)
    assert use.look() == ([], ["a card may compute: nvidia-smi did not answer within 30 s"])


def _locked(file: Path, how: int) -> int:
    opened = os.open(file, os.O_RDWR | os.O_CREAT)
    fcntl.flock(opened, how)
    return opened


def test_downloads_transfers_and_changes_are_seen_by_their_locks(use: host_use.Use, tmp_path: Path) -> None:
    held = {
        "models are downloaded": _locked(tmp_path / "store/lock", fcntl.LOCK_EX),
        "sdfleet changes it": _locked(tmp_path / "steps", fcntl.LOCK_SH),
    }
    with transfers.sending():
        assert set(use.look()[0]) == {*held, "files are fetched from it"}
    for opened in held.values():
        os.close(opened)
    assert use.look() == ([], [])
    incoming = tmp_path / "datasets/incoming-1"
    incoming.mkdir(parents=True)
    assert use.look()[0] == ["inputs of a run arrive"]
    old = time.time() - host_use.ARRIVING_SECONDS - 1
    os.utime(incoming, (old, old))
    assert use.look() == ([], [])


def test_who_holds_the_lock_of_transfers_delays_none_for_long(
    use: host_use.Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfers, "SECONDS", 0.1)
    held = _locked(transfers.LOCK, fcntl.LOCK_EX)
    transfers.LOCK.chmod(0o644)  # as an earlier sdfleet made it
    with transfers.sending():
        pass
    os.close(held)
    assert transfers.LOCK.stat().st_mode & 0o777 == 0o600, "no service can open it to take it"


@pytest.fixture
def watcher(use: host_use.Use, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> idle_stop.Watcher:
    """The service on a host that is stopped by a file."""
    monkeypatch.setattr(host_stop, "PATIENCE_SECONDS", 0)
    options = argparse.Namespace(
        seconds=60.0,
        command=f"echo $SDFLEET_TEST_ID >>{tmp_path}/stopped",
        root=tmp_path,
        webui_port=use.port,
        state=tmp_path / "state.json",
    )
    monkeypatch.setattr(provider, "variables", lambda: {"SDFLEET_TEST_ID": "the id of the container"})
    return idle_stop.Watcher(options)


def ticking(watcher: idle_stop.Watcher, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Turn the clock by so many seconds, with a look every 15."""
    clock = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    watcher.idle = Idle(60.0, clock[0])

    def turn(seconds: float) -> None:
        for _ in range(int(seconds / 15)):
            clock[0] += 15
            watcher.look()

    return turn


def test_the_host_is_stopped_after_that_time_and_the_log_says_why(
    watcher: idle_stop.Watcher,
    webui: Webui,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    turn = ticking(watcher, monkeypatch)
    webui.job_count = 1
    turn(300)
    told = json.loads((tmp_path / "state.json").read_text())
    assert told["uses"] == ["the WebUI draws"] and told["idle"] == 0
    webui.job_count = 0
    turn(45)
    assert not (tmp_path / "stopped").exists()
    assert json.loads((tmp_path / "state.json").read_text())["idle"] == 45
    turn(15)
    assert (tmp_path / "stopped").read_text() == "the id of the container\n"
    assert "nothing has used this host for 1 min: running `echo" in capsys.readouterr().out


def test_an_apply_at_work_is_not_cut_off(
    watcher: idle_stop.Watcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    turn = ticking(watcher, monkeypatch)
    (tmp_path / "lock.holder").write_text("`sdfleet apply` of me@there\n")
    held = _locked(tmp_path / "lock", fcntl.LOCK_EX)
    turn(120)
    assert not (tmp_path / "stopped").exists()
    assert "not stopped: `sdfleet apply` of me@there changes it" in capsys.readouterr().out
    os.close(held)
    turn(120)
    assert (tmp_path / "stopped").exists()


def test_a_command_that_fails_is_told_of_and_tried_again(
    watcher: idle_stop.Watcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    turn = ticking(watcher, monkeypatch)
    watcher.options.command = f"echo x >>{tmp_path}/tried; echo no such instance >&2; exit 3"
    turn(60)
    assert "ended with status 3: no such instance" in capsys.readouterr().out
    turn(AGAIN_SECONDS - 15)
    assert (tmp_path / "tried").read_text() == "x\n"
    turn(15)
    assert (tmp_path / "tried").read_text() == "x\nx\n"
