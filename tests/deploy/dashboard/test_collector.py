"""What is collected of a host: with the program's own questions, on hosts that are folders of this machine."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy import status
from deploy.connection.several import connect
from deploy.connection.ssh import HostError, Remote
from deploy.dashboard import collector as collecting
from deploy.dashboard.board import Board
from deploy.dashboard.collector import Collector
from deploy.dashboard.command import stop
from deploy.shapes import Gpu
from inventory.load import load
from tests.deploy.dashboard import scene
from tests.deploy.fake_hosts import FakeHosts, fakes
from tests.deploy.test_rollback import serve
from tests.deploy.test_run_states import ACTIVE, ENDED, TRAINS, WAITS, run_of

pytestmark = pytest.mark.slow

__all__ = ["fakes"]

PNG = b"\x89PNG\r\n\x1a\n" + b"picture"


def steps(*losses: float, first: int = 1) -> str:
    """Lines of a log."""
    records = ({"event": "step", "step": n, "steps": 9, "loss": loss} for n, loss in enumerate(losses, first))
    return "\n".join(map(json.dumps, records))


def drawn(file: str, **more: Any) -> str:
    """The line of a log that names a picture."""
    return json.dumps({"event": "sample", "step": 3, "file": file, "prompt": "a cat", **more})


@pytest.fixture
def board() -> Board:
    return Board()


@pytest.fixture
def of(fakes: FakeHosts, board: Board) -> Iterator[Any]:
    """Makes the collector of a host of the fleet."""
    with contextlib.ExitStack() as opened:

        def made(name: str) -> Collector:
            host = load(fakes.file).hosts[name]
            return Collector(opened.enter_context(connect([host]))[name], board)

        yield made


def shown(board: Board, kind: str) -> dict[str, Any]:
    """What the board shows of one kind, by key."""
    return {item.key: json.loads(item.text) for item in board.since(0)[0] if item.kind == kind}


def said(board: Board) -> list[str]:
    """What has happened, the last first."""
    return [one["text"] for one in shown(board, "news").get("", [])]


def test_a_run_is_shown_as_it_goes_on(fakes: FakeHosts, of: Any, board: Board) -> None:
    folder = run_of(fakes, ACTIVE, steps(1.0, 0.5), turn_state=TRAINS)
    host = of("h1")
    assert shown(board, "host")["h1"]["reach"] == "waiting"
    host.round()
    [run] = shown(board, "host")["h1"]["runs"]
    assert (run["state"], run["gpus"], run["progress"]["step"]) == ("running", ["1"], 2)
    assert shown(board, "run")["h1/ink"]["curve"] == [[1, 1.0, 1.0], [2, 0.5, 0.5]]
    with (folder / "log.jsonl").open("a") as log:
        log.write(steps(0.25, first=3) + "\n" + drawn("ink-00000003-00.png") + "\n")
    host.round()
    detail = shown(board, "run")["h1/ink"]
    assert detail["curve"][-1] == [3, 0.25, 0.25]
    assert detail["samples"] == [{"key": "00000003-00", "step": 3, "prompt": "a cat"}]
    (fakes.host("h1") / "show").write_text(ENDED)
    (folder / "run.json").write_text(json.dumps({"ended": {"how": "finished"}}))
    host.round()
    assert [run["state"] for run in shown(board, "host")["h1"]["runs"]] == ["finished"]
    assert said(board)[0] == "run ink: running, now finished"
    for file in sorted(folder.iterdir()):
        file.unlink()
    host.round()
    assert shown(board, "host")["h1"]["runs"] == [] and shown(board, "run") == {}


def test_a_log_is_not_read_twice(fakes: FakeHosts, of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run_of(fakes, ENDED, steps(1.0), run={"ended": {"how": "finished"}})
    host = of("h1")
    host.round()
    read: list[str] = []
    monkeypatch.setattr(host.runs.host, "read", lambda run, offset: read.append(run))
    host.round()
    assert read == [] and host.view.reach == "answers"


def test_a_queued_run_says_what_it_waits_for(fakes: FakeHosts, of: Any, board: Board) -> None:
    run_of(fakes, ACTIVE, turn_state=WAITS)
    of("h1").round()
    [run] = shown(board, "host")["h1"]["runs"]
    assert (run["state"], run["reason"]) == ("queued", "waiting for the runs before it")


def test_a_lost_host_keeps_what_was_known(
    fakes: FakeHosts, of: Any, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_of(fakes, ACTIVE, steps(1.0), turn_state=TRAINS)
    host = of("h1")
    host.round()
    known = shown(board, "host")["h1"]
    seen = shown(board, "seen")[""]["h1"]
    (fakes.host("h1") / "away").touch()
    host.round()
    lost = shown(board, "host")["h1"]
    assert (lost["reach"], lost["level"]) == ("lost", "bad")
    assert "No route to host" in lost["error"]["what"] and lost["error"]["where"] == "h1"
    assert (lost["state"], lost["runs"]) == (known["state"], known["runs"])
    host.round()
    assert shown(board, "host")["h1"]["since"] == lost["since"], "since when it is lost"
    assert shown(board, "seen")[""]["h1"] == seen
    (fakes.host("h1") / "away").unlink()
    host.round()
    assert shown(board, "host")["h1"]["reach"] == "answers"
    told = said(board)
    assert told[0].startswith("answers again after 0:") and "No route to host" in told[1] and len(told) == 2


def test_a_host_that_answers_nonsense_fails_alone(
    fakes: FakeHosts, of: Any, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes.write({"h1": "train"})
    host = of("h1")
    monkeypatch.setattr(Remote, "call", lambda *_, **__: ["what is this"])
    host.round()
    failed = shown(board, "host")["h1"]
    assert failed["reach"] == "failed" and "unexpected answer" in failed["error"]["what"]


@pytest.mark.parametrize(
    "wrong",
    [{"os": {"a": 1}}, {"services": ["active"]}, {"gpus": (Gpu(7, "580", 1, 2, 3),)}, {"runs": {"ink": []}}],  # type: ignore[arg-type]
)
def test_what_has_another_type_does_not_reach_the_page(
    wrong: dict[str, Any], fakes: FakeHosts, of: Any, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes.write({"h1": ""})
    monkeypatch.setattr(status, "look", lambda remote: scene.state(1, 5, **wrong))
    of("h1").round()
    failed = shown(board, "host")["h1"]
    assert (failed["reach"], failed["state"]) == ("failed", None)
    assert "unexpected answer" in failed["error"]["what"]


def test_a_fault_of_this_machine_is_said(
    fakes: FakeHosts, of: Any, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(remote: Remote) -> None:
        raise OSError(24, "Too many open files")

    fakes.write({"h1": ""})
    monkeypatch.setattr(status, "look", look)
    of("h1").round()
    assert "Too many open files" in shown(board, "host")["h1"]["error"]["what"]


def test_releases_and_the_update_of_a_host(fakes: FakeHosts, of: Any, board: Board) -> None:
    fakes.write({"h1": "webui"})
    serve(fakes, "h1", "one", "two")
    mark = {
        "rollout": "1f9a2b7c44",
        "state": "begun",
        "before": {},
        "by": "ann@studio",
        "at": "2026-11-28T10:00:00Z",
        "reason": "",
    }
    (fakes.root("h1") / "rollout.json").write_text(json.dumps(mark))
    host = of("h1")
    host.round()
    seen = shown(board, "host")["h1"]
    assert [release["release"] for release in seen["releases"]["webui"]] == ["r1", "r0"]
    assert (seen["update"]["state"], seen["update"]["at"]) == ("begun", 1795860000)
    assert said(board) == ["update 1f9a2b7c begun by ann@studio"]
    assert fakes.sdfleet("rollback").exit_code == 0
    (fakes.root("h1") / "rollout.json").write_text(
        json.dumps({**mark, "state": "back", "at": "2026-11-28T10:02:00Z", "reason": "picture: it is grey"})
    )
    host.round()
    releases = shown(board, "host")["h1"]["releases"]["webui"]
    assert [(one["release"], one["state"]) for one in releases] == [("r0", "in use"), ("r1", "gone back from")]
    assert "update 1f9a2b7c was rolled back: picture: it is grey" in said(board)


@pytest.fixture
def painting(fakes: FakeHosts, of: Any) -> tuple[Collector, Path]:
    """A host whose run has named pictures, good and bad, and the folder of its pictures."""
    names = ("ink-00000003-00.png", "ink-00000003-01.png", "../config-00000003-02.png", "x", "ink-00000003-03.png")
    folder = run_of(fakes, ACTIVE, "\n".join([steps(1.0), *map(drawn, names)]), turn_state=TRAINS)
    samples = folder / "samples"
    samples.mkdir()
    (samples / "ink-00000003-00.png").write_bytes(PNG)
    (folder / "config-00000003-02.png").write_bytes(PNG)
    host = of("h1")
    host.round()
    return host, samples


def test_a_picture_that_a_log_names_is_fetched(painting: tuple[Collector, Path]) -> None:
    host, _ = painting
    assert host.sample("ink", "00000003-00") == (PNG, "image/png")


@pytest.mark.parametrize("key", ["00000003-02", "00000009-00", "x", "../config.toml", ""])
def test_what_no_log_names_is_not_fetched(key: str, painting: tuple[Collector, Path]) -> None:
    host, _ = painting
    for run in ("ink", "..", "other"):
        with pytest.raises(LookupError):
            host.sample(run, key)


def test_what_is_no_picture_or_too_large_is_not_shown(
    painting: tuple[Collector, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    host, samples = painting
    (samples / "ink-00000003-01.png").write_text("<script>")
    with pytest.raises(HostError, match="is no PNG or JPEG"):
        host.sample("ink", "00000003-01")
    (samples / "ink-00000003-03.png").symlink_to(samples / "ink-00000003-00.png")
    with pytest.raises(HostError):
        host.sample("ink", "00000003-03")
    (samples / "ink-00000003-03.png").unlink()
    monkeypatch.setattr(collecting, "LARGEST_SAMPLE", 10)
    (samples / "ink-00000003-03.png").write_bytes(PNG * 2)
    with pytest.raises(HostError, match="more than the 10 bytes"):
        host.sample("ink", "00000003-03")


def test_a_collector_ends_at_once(fakes: FakeHosts, of: Any, board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes.write({"h1": "train"})
    host = of("h1")
    ssh = fakes.folder / "programs/ssh"
    ssh.write_text('#!/bin/sh\n[ "$2" = none ] || exec sleep 60\n')
    host.start()
    while not host.remote._running:
        pass
    stop([host])
    assert not host.is_alive() and shown(board, "host")["h1"]["reach"] == "waiting"
