"""The last lines of verbs: what they point at when nothing is left to do, and what they say before they begin."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.connection.ssh import HostError
from deploy.engine import client
from deploy.engine.events import Event, HostResult, Request
from deploy.locks import lock
from deploy.runs import train
from deploy.runs.transfer import RunHost
from inventory.model import Fleet
from tests.deploy.fake_hosts import FakeHosts, fakes
from tests.deploy.test_rollback import serve

__all__ = ["fakes"]


@pytest.fixture
def compared(fakes: FakeHosts, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, list[str]]]:
    """Run a verb that finds so many changes on h1; its exit code and last line, without the time it took."""
    fakes.write({"h1": ""})
    monkeypatch.setattr(lock, "require", lambda *_: None)

    def run(verb: str, changes: int) -> tuple[int, list[str]]:
        def engine(fleet: Fleet, request: Request) -> Iterator[Event]:
            yield HostResult(host="h1", status="ok", changed=changes, unchanged=5)

        monkeypatch.setattr(client, "engine_events", engine)
        done = fakes.sdfleet(verb)
        return done.exit_code, done.output.splitlines()[-1].split(" s. ")[1:]

    return run


def test_drift_points_at_apply_only_if_there_is_some(compared: Callable[..., tuple[int, list[str]]]) -> None:
    assert compared("drift", 0) == (0, ["No drift."])
    assert compared("drift", 2) == (3, ["Next: sdfleet apply, or sdfleet update to do it in waves"])


def test_a_plan_with_nothing_to_do_points_at_verify(compared: Callable[..., tuple[int, list[str]]]) -> None:
    assert compared("plan", 0) == (0, ["Next: sdfleet verify"])
    assert compared("plan", 2) == (0, ["Next: sdfleet apply"])


def test_a_run_is_named_before_it_is_started(fakes: FakeHosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes.write({"h1": "train"})
    (tmp_path / "pictures/1_cat").mkdir(parents=True)
    (tmp_path / "pictures/1_cat/a.png").write_bytes(b"a")
    (tmp_path / "model.safetensors").write_bytes(b"x")
    config = tmp_path / "ink.toml"
    config.write_text(
        'name = "ink"\n[model]\ncheckpoint = "model.safetensors"\n[data]\nfolder = "pictures"\n[train]\nsteps = 5\n'
    )

    def cut(host: RunHost, run: str) -> None:
        raise HostError(f"{host.name}: the connection was cut")

    def sent(host: RunHost, run: str, *_: Any) -> None:
        pass

    monkeypatch.setattr(train, "choose", lambda remotes, turn: remotes["h1"])
    monkeypatch.setattr(RunHost, "send", sent)
    monkeypatch.setattr(RunHost, "start", cut)
    done = fakes.sdfleet("train", "run", str(config), "--name", "ink-1")
    assert done.exit_code == 1
    assert "Starting ink-1 on h1\n" in done.output and "the connection was cut" in done.output, done.output
    assert "Started" not in done.output


def test_releases_end_with_the_way_back_where_there_is_one(fakes: FakeHosts) -> None:
    fakes.write({"h1": "webui", "h2": "webui"})
    serve(fakes, "h1", "good", "new")
    assert "To go back" not in fakes.sdfleet("releases").output, "r0 never served"
    history = fakes.root("h1") / "apps/webui/history.json"
    served = json.loads(history.read_text())
    for entry in served["served"]:
        entry["since"] = "2026-11-27T01:02:03Z"
    history.write_text(json.dumps(served))
    assert fakes.sdfleet("releases").output.splitlines()[-1] == "To go back: sdfleet rollback h1"


def test_status_of_a_sick_host_points_at_the_doctor(fakes: FakeHosts) -> None:
    fakes.write({"h1": "", "h2": "webui", "h3": ""})
    assert "doctor" not in fakes.sdfleet("status", "--limit", "h1").output
    assert fakes.sdfleet("status").output.splitlines()[-1] == "Next: sdfleet apply"
    serve(fakes, "h2", "good", "new")  # and it does not answer
    assert fakes.sdfleet("status").output.splitlines()[-1] == "Next: sdfleet doctor h2"
    (fakes.host("h3") / "away").touch()
    assert fakes.sdfleet("status").output.splitlines()[-1] == "Next: sdfleet doctor"


def test_a_list_with_a_run_that_runs_points_at_it(fakes: FakeHosts) -> None:
    fakes.write({"h1": "train"})
    (fakes.host("h1") / "show").write_text("ActiveState=active\nResult=success\nInvocationID=abc\n")
    folder = fakes.root("h1") / "runs/ink"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text("")
    assert fakes.sdfleet("train", "list").output.splitlines()[-1] == "Next: sdfleet train follow ink"
