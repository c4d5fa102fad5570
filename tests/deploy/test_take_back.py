"""What a rollout says of hosts that it takes back, and of marks that it cannot read."""

import json
from collections.abc import Iterator

import pytest

from deploy import engine_client
from deploy.events import Event, HostResult, Planned, Request
from deploy.rollout import gates, rollback, state
from deploy.rollout.gates import Failure
from deploy.rollout.rollout import Rollout
from deploy.ssh import connect
from inventory.load import load
from inventory.model import Fleet
from tests.deploy.fake_hosts import FakeHosts, fakes
from tests.deploy.test_rollback import current, serve
from tests.deploy.test_rollout import seen

__all__ = ["fakes"]


def failed_update(fakes: FakeHosts) -> None:
    """Try the release r1, which does not start, on h1, whose r0 served; then take h1 back."""
    fleet = load(fakes.file)
    home, unit = fakes.root("h1") / "apps/webui", fakes.host("h1") / "it.service"
    (home / "releases/r1").mkdir()
    text = fakes.host("h1") / "text"
    text.write_text("broken too")
    with connect(fleet.hosts.values()) as remotes:
        remote = remotes["h1"]
        before = {"h1": {"history": rollback.history(remote), "releases": {}}}
        words = ["--app", home, "switch", "--release", "r1", "--unit", unit, "--text", text]
        done = remote.start("activate", *map(str, words), check=False)
        assert done.status == 1, done.err
        rollout = Rollout(fleet, "x", remotes)
        rollout.failures = [Failure("h1", "apply", done.err.strip())]
        rollout.take_back(remotes, before)


@pytest.mark.parametrize(
    ("old", "said"),
    [
        ("good", "h1 webui is still on r0"),
        (
            "broken",
            "h1 webui is on r0 again, but does not run (failed): its last words; "
            "see: sdfleet logs h1 webui, sdfleet doctor h1",
        ),
    ],
)
def test_a_host_whose_old_release_does_not_start_is_not_said_to_be_on_it(
    old: str, said: str, fakes: FakeHosts, capsys: pytest.CaptureFixture[str]
) -> None:
    fakes.write({"h1": "webui"})
    serve(fakes, "h1", old)
    failed_update(fakes)
    assert capsys.readouterr().out.splitlines() == ["Rolling back h1", said]
    assert current(fakes, "h1") == "r0"
    assert json.loads((fakes.root("h1") / "rollout.json").read_text())["state"] == "back"


def test_a_host_that_cannot_be_taken_back_says_what_to_type(
    fakes: FakeHosts, capsys: pytest.CaptureFixture[str]
) -> None:
    fakes.write({"h1": "webui"})
    serve(fakes, "h1", "good")
    fleet = load(fakes.file)
    (fakes.host("h1") / "away").touch()
    with connect(fleet.hosts.values()) as remotes:
        Rollout(fleet, "x", remotes).take_back(remotes, {"h1": {"history": {}, "releases": {}}})
    said = capsys.readouterr().err
    assert "could not be rolled back" in said and "; see: sdfleet doctor h1" in said


@pytest.mark.parametrize("mark", ["{", "", "[]", '{"rollout": 5}', '{"state": "begun"}'])
def test_a_damaged_mark_is_no_mark(mark: str, fakes: FakeHosts) -> None:
    fakes.write({"h1": "webui"})
    with connect(load(fakes.file).hosts.values()) as remotes:
        state.write(remotes["h1"], "x", "begun", {})
        written = state.read(remotes["h1"])
        assert written is not None and written.state == "begun"
        (file,) = fakes.root("h1").glob("rollout*")
        file.write_text(mark)
        assert state.read(remotes["h1"]) is None
        state.write(remotes["h1"], "x", "passed", {})
        again = state.read(remotes["h1"])
        assert again is not None and again.state == "passed"


def test_an_update_goes_on_over_a_damaged_mark(
    fakes: FakeHosts, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def engine(fleet: Fleet, request: Request) -> Iterator[Event]:
        if not request.apply:
            yield Planned(host="h1", operation="WebUI | Run release r1", change=True)
        yield HostResult(host="h1", status="ok", changed=1)

    monkeypatch.setattr(engine_client, "engine_events", engine)
    monkeypatch.setattr(gates, "look", lambda remote, settings, seconds: {**seen(), "releases": {}, "runs": []})
    fakes.write({"h1": "webui"})
    serve(fakes, "h1", "good")
    fleet = load(fakes.file)
    with connect(fleet.hosts.values()) as remotes:
        (fakes.root("h1") / "rollout.json").write_text("{")
        rollout = Rollout(fleet, "x", remotes)
        rollout.run()
        mark = state.read(remotes["h1"])
    assert (rollout.passed, rollout.failures) == (["h1"], []), capsys.readouterr()
    assert mark is not None and mark.state == "passed"
