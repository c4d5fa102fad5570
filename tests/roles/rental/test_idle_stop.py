"""The service that stops an idle host, by clocks that tests turn."""

import argparse
import fcntl
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from roles.onhost import host_stop, host_use, idle_stop, provider
from roles.onhost.idle_stop import AGAIN_SECONDS, Idle
from tests.roles.rental.conftest import Webui, locked


@pytest.fixture
def watcher(use: host_use.Use, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> idle_stop.Watcher:
    """The service on a host that is stopped by a file."""
    monkeypatch.setattr(host_stop, "PATIENCE_SECONDS", 0)
    options = argparse.Namespace(
        seconds=60.0,
        command=f"echo $SDFLEET_TEST_ID >>{tmp_path}/stopped",
        root=tmp_path,
        webui_port=use.ports["webui"],
        comfyui_port=0,
        state=tmp_path / "state.json",
    )
    monkeypatch.setattr(provider, "variables", lambda: {"SDFLEET_TEST_ID": "the id of the container"})
    return idle_stop.Watcher(options)


def ticking(watcher: idle_stop.Watcher, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Turn the clock by so many seconds, with a look every 15."""
    clock = [float(int(time.monotonic()))]  # whole seconds: sums of others are rounded, and no longer 60 s apart
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
    held = locked(tmp_path / "lock", fcntl.LOCK_EX)
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


def test_a_full_disk_keeps_no_host_running(
    watcher: idle_stop.Watcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    turn = ticking(watcher, monkeypatch)
    watcher.options.state = tmp_path / "missing/state.json"
    (tmp_path / "lock.holder").symlink_to("/dev/full")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    turn(60)
    assert (tmp_path / "stopped").exists()
    assert capsys.readouterr().out.count("what `sdfleet status` shows is not written: [Errno 2]") == 1


def test_a_host_is_stopped_where_not_even_its_lock_can_be_made(
    watcher: idle_stop.Watcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn = ticking(watcher, monkeypatch)
    monkeypatch.setattr(host_stop, "LOCK", tmp_path / "missing/lock")
    turn(60)
    assert (tmp_path / "stopped").exists()
