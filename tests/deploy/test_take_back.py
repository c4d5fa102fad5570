"""What a rollout says of hosts that it takes back, and of marks that it cannot read."""

import json
import shutil
from collections.abc import Collection, Iterator

import pytest

from deploy.connection.several import connect
from deploy.connection.ssh import HostError, Remote
from deploy.engine import client
from deploy.engine.events import Event, HostResult, Planned, Request
from deploy.names import APPS
from deploy.rollout import checks, gates, rollback, state
from deploy.rollout.gates import Failure, Seen
from deploy.rollout.rollout import Rollout
from inventory.errors import SdfleetError
from inventory.load import load
from inventory.model import Fleet
from inventory.rollout import Rollout as Settings
from tests.deploy.fake_hosts import FakeHosts, fakes
from tests.deploy.test_rollback import current, serve
from tests.deploy.test_rollout import seen

pytestmark = pytest.mark.slow

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


def state_of(fakes: FakeHosts, host: str) -> str:
    return str(json.loads((fakes.root(host) / "rollout.json").read_text())["state"])


def test_a_failed_switch_that_went_back_by_itself_is_back(fakes: FakeHosts, capsys: pytest.CaptureFixture[str]) -> None:
    fakes.write({"h1": "webui"})
    serve(fakes, "h1", "good")
    failed_update(fakes)
    assert capsys.readouterr().out.splitlines() == ["Rolling back h1", "h1 webui is still on r0"]
    assert (current(fakes, "h1"), state_of(fakes, "h1")) == ("r0", "back")


def test_a_host_whose_old_release_does_not_start_is_not_said_to_be_on_it(
    fakes: FakeHosts, capsys: pytest.CaptureFixture[str]
) -> None:
    fakes.write({"h1": "webui"})
    serve(fakes, "h1", "broken")
    failed_update(fakes)
    said = capsys.readouterr()
    assert said.err.splitlines() == [
        "h1 webui is on r0 again, but does not run (failed): its last words; "
        "see: sdfleet logs h1 webui, sdfleet doctor h1"
    ]
    assert said.out.splitlines() == ["Rolling back h1", "Rolled back: nothing. Not rolled back: h1 (webui)."]
    assert (current(fakes, "h1"), state_of(fakes, "h1")) == ("r0", "failed")


def updated(fakes: FakeHosts, *hosts: str) -> dict[str, Seen]:
    """Hosts on r1 of the WebUI, lora-scripts and trainer; their states before, on r0."""
    before = {}
    for host in hosts:
        for app in APPS:
            serve(fakes, host, "good", "new", app=app)
        (fakes.host(host) / "up").touch()
        before[host] = {"history": {app: {"release": "r0", "text": "good"} for app in APPS}}
    return before


def break_way_back(fakes: FakeHosts, host: str, how: str) -> str:
    """Keep the WebUI of a host from going back; what is said of that."""
    home = fakes.root(host) / "apps/webui"
    if how == "gone":
        shutil.rmtree(home / "releases/r0")
        return "No release r0. "
    if how == "zeros":  # as after a power cut
        (home / "history.json").write_bytes(bytes(40))
        return f"its history.json is damaged; to choose a release: sdfleet releases --limit {host}"
    if how == "set aside":  # by `activate`, which found it damaged, and no copy of it
        (home / "history.json").unlink()
        return f"its history.json is gone; to choose a release: sdfleet releases --limit {host}"
    if how == "damaged":
        (home / "history.json").write_text('{"served": [5]}')
        return f"its history.json is damaged; to choose a release: sdfleet releases --limit {host}"
    history = json.loads((home / "history.json").read_text())
    history["served"][0]["text"] = "broken"
    (home / "history.json").write_text(json.dumps(history))
    return "it.service did not become ready: its last words; went back to r1"


@pytest.mark.parametrize("how", ["gone", "damaged", "zeros", "broken", "set aside"])
def test_an_application_that_cannot_go_back_does_not_keep_the_others(
    how: str, fakes: FakeHosts, capsys: pytest.CaptureFixture[str]
) -> None:
    fakes.write({"h1": "webui train", "h2": "webui train"})
    before = updated(fakes, "h1", "h2")
    said = break_way_back(fakes, "h1", how)
    fleet = load(fakes.file)
    with connect(fleet.hosts.values()) as remotes:
        rollout = Rollout(fleet, "x", remotes)
        rollout.failures = [Failure("h1", "picture", "it is grey")]
        rollout.take_back(remotes, before)
        mark = state.read(remotes["h1"])
    told = capsys.readouterr()
    assert "h1 webui could not be rolled back to r0: " in told.err and said in told.err, told.err
    assert "see: sdfleet doctor h1" in told.err
    assert told.out.splitlines()[-1] == (
        "Rolled back: h1 (comfyui, lora_scripts, trainer), h2. Not rolled back: h1 (webui)."
    )
    for app in ("comfyui", "lora_scripts", "trainer"):
        assert current(fakes, "h1", app) == "r0"
    assert current(fakes, "h2") == "r0" and state_of(fakes, "h2") == "back"
    assert mark is not None and mark.state == "failed" and mark.before == before["h1"]
    assert mark.reason.startswith("gate picture: it is grey; webui could not be rolled back")


@pytest.mark.parametrize("way_back", [True, False])
def test_only_an_old_release_that_serves_again_is_measured(
    way_back: bool, fakes: FakeHosts, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fakes.write({"h1": "webui train"})
    before = updated(fakes, "h1")
    if not way_back:
        break_way_back(fakes, "h1", "gone")
    monkeypatch.setattr(checks.Checks, "old", lambda *_: "2 s with the old release of webui as well now")
    fleet = load(fakes.file)
    with connect(fleet.hosts.values()) as remotes:
        rollout = Rollout(fleet, "x", remotes)
        rollout.failures = [Failure("h1", gates.COST, "the picture takes 2 s")]
        rollout.take_back(remotes, before)
    assert ("with the old release" in capsys.readouterr().out) == way_back


@pytest.mark.parametrize("damage", ["", "{", '{"served": [5]}', None])
def test_a_history_that_is_damaged_between_the_gates_is_read_from_its_copy(
    damage: str | None, fakes: FakeHosts, capsys: pytest.CaptureFixture[str]
) -> None:
    fakes.write({"h1": "webui train"})
    before = updated(fakes, "h1")
    history = fakes.root("h1") / "apps/webui/history.json"
    history.with_name("history.json.copy").write_bytes(history.read_bytes())
    history.unlink() if damage is None else history.write_text(damage)
    fleet = load(fakes.file)
    shown = fakes.sdfleet("releases", "--json").output
    assert [entry["release"] for entry in json.loads(shown)["hosts"]["h1"]["apps"]["webui"] if entry["current"]] == [
        "r1"
    ]
    with connect(fleet.hosts.values()) as remotes:
        Rollout(fleet, "x", remotes).take_back(remotes, before)
    assert current(fakes, "h1") == "r0" and state_of(fakes, "h1") == "back", capsys.readouterr()


def test_a_host_that_goes_away_in_the_middle_is_named_beside_those_that_are_back(
    fakes: FakeHosts, capsys: pytest.CaptureFixture[str]
) -> None:
    fakes.write({"h1": "webui train", "h2": "webui train"})
    before = updated(fakes, "h1", "h2")
    (fakes.host("h1") / "away").touch()
    fleet = load(fakes.file)
    with connect(fleet.hosts.values()) as remotes:
        Rollout(fleet, "x", remotes).take_back(remotes, before)
    told = capsys.readouterr()
    assert "h1 could not be rolled back: h1 (root@h1:22): cannot be reached" in told.err
    assert told.out.splitlines()[-1] == "Rolled back: h2. Not rolled back: h1."


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

    monkeypatch.setattr(client, "engine_events", engine)
    monkeypatch.setattr(
        gates, "look", lambda remote, settings, seconds, measured: {**seen(), "releases": {}, "runs": []}
    )
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


def test_a_host_that_could_not_go_back_is_checked_again_by_the_same_update(
    fakes: FakeHosts, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It stayed on the refused release, so nothing would change there: it is compared with what served before."""

    def engine(fleet: Fleet, request: Request) -> Iterator[Event]:
        yield HostResult(host="h1", status="ok", changed=0)

    monkeypatch.setattr(client, "engine_events", engine)
    looks: list[float] = []

    def look(remote: Remote, settings: Settings, seconds: float, measured: Collection[str]) -> Seen:
        looks.append(seconds)
        return {**seen(errors=("RuntimeError: it fails at each picture",)), "releases": {}, "runs": []}

    monkeypatch.setattr(gates, "look", look)
    fakes.write({"h1": "webui"})
    serve(fakes, "h1", "good", "new")
    fleet = load(fakes.file)
    with connect(fleet.hosts.values()) as remotes:
        before = {**seen(), "history": {"webui": {"release": "r0", "text": "good"}}, "releases": {}}
        state.write(remotes["h1"], "x", "failed", before, "gate journal")
        rollout = Rollout(fleet, "x", remotes)
        rollout.run()
    assert looks == [20], "nothing new is recorded as what served before"
    assert [failure.gate for failure in rollout.failures] == ["journal"], capsys.readouterr()
    assert (current(fakes, "h1"), state_of(fakes, "h1")) == ("r0", "back")


def test_training_that_cannot_be_started_again_is_named_and_that_of_other_hosts_is_started(
    fakes: FakeHosts, capsys: pytest.CaptureFixture[str]
) -> None:
    fakes.write({"h1": "webui train", "h2": "webui train"})
    fleet = load(fakes.file)
    (fakes.host("h1") / "away").touch()
    with connect(fleet.hosts.values()) as remotes:
        rollout = Rollout(fleet, "x", remotes)
        rollout.resume_training({name: ["lora-train@ink.service"] for name in remotes})
    assert rollout.not_resumed == ["h1"]
    said = capsys.readouterr().err
    assert "h1 its training did not resume" in said and "run: sdfleet train resume ink" in said
    assert "start lora-train@ink.service" in (fakes.host("h2") / "asked").read_text()


def test_a_wave_that_ends_before_anything_is_changed_leaves_no_host_touched(
    fakes: FakeHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command then restores fleet.lock, so that no later apply installs what was never tried."""
    fakes.write({"h1": "webui"})
    serve(fakes, "h1", "good", "new")
    fleet = load(fakes.file)

    def lost(*_: object) -> None:
        raise HostError("h1: the connection was lost")

    monkeypatch.setattr(Rollout, "_before", lost)
    with connect(fleet.hosts.values()) as remotes:
        rollout = Rollout(fleet, "x", remotes)
        with pytest.raises(SdfleetError, match="the connection was lost"):
            rollout.wave(["h1"])
    assert rollout.touched == []
