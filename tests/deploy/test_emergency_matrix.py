"""Every verb for bad days in every bad world: the job is done where it can be, and the same verb finishes it later."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deploy import units
from deploy.connection.ssh import HostError, Remote
from deploy.runs.transfer import RunHost
from tests.deploy import killed
from tests.deploy.fake_hosts import FakeHosts, fakes
from tests.deploy.test_emergency import blob, run_on, write_lock
from tests.deploy.test_rollback import current, serve

pytestmark = pytest.mark.slow

__all__ = ["fakes"]

AWAY = "h2 (root@h2:22): cannot be reached: ssh: connect to host h2 port 22: No route to host"


@dataclass(frozen=True)
class Verb:
    """A verb, a host h1 that needs it, and whether its job is done there."""

    words: Sequence[str]
    made: Callable[[FakeHosts], None]
    done: Callable[[FakeHosts], bool]
    wrong: Sequence[str]
    """The words with a name that is not there."""
    away: int = 1
    """Exit status if another host is away: 0 if it need not be asked."""
    ends_down: bool = True
    """Whether the job is done although the service was down before, with status 0."""
    again: int = 0
    """Exit status of the same words when the job is done."""


def _served(fakes: FakeHosts) -> None:
    serve(fakes, "h1", "good", "new")
    (fakes.host("h1") / "up").touch()


def _unused(fakes: FakeHosts) -> None:
    blob(fakes, "h1", "1" * 64)
    write_lock(fakes)


def _run(fakes: FakeHosts) -> None:
    folder = run_on(fakes, "h1", "ink")
    (fakes.root("h1") / "store").mkdir(exist_ok=True)
    (folder / "turn.json").write_text(json.dumps({"nodes": None}))


def _stopped_run(fakes: FakeHosts) -> None:
    _run(fakes)
    (fakes.root("h1") / "runs/ink/run.json").unlink()
    started = "ActiveState=active\\nResult=success\\nInvocationID=\\n"
    (fakes.host("h1") / "on-enable").write_text(f'printf "{started}" >"$FAKE_HOST/show"\n')


def _running_run(fakes: FakeHosts) -> None:
    _run(fakes)
    (fakes.root("h1") / "runs/ink/run.json").unlink()
    (fakes.host("h1") / "show").write_text("ActiveState=active\nResult=success\nInvocationID=\n")
    (fakes.host("h1") / "on-disable").write_text(
        'printf "ActiveState=inactive\\nResult=success\\nInvocationID=\\n" >"$FAKE_HOST/show"\n'
    )


def _service(up: bool) -> Callable[[FakeHosts], None]:
    def made(fakes: FakeHosts) -> None:
        (fakes.host("h1") / "units").write_text("loaded\n")
        if up:
            (fakes.host("h1") / "up").touch()

    return made


def _text(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def _up(fakes: FakeHosts) -> bool:
    return (fakes.host("h1") / "up").exists()


def _active(fakes: FakeHosts) -> bool:
    return "ActiveState=active" in (fakes.host("h1") / "show").read_text()


VERBS = {
    "rollback": Verb(
        ("rollback",), _served, lambda fakes: current(fakes, "h1") == "r0" and _up(fakes), ("rollback", "h9"), again=1
    ),
    "publish": Verb(
        ("train", "publish", "ink"),
        _run,
        lambda fakes: _text(fakes.root("h1") / "data/webui/models/Lora/ink.safetensors") == "weights",
        ("train", "publish", "pen"),
    ),
    "prune": Verb(
        ("models", "prune", "--yes"),
        _unused,
        lambda fakes: not list((fakes.root("h1") / "store/sha256").glob("*/*")),
        ("models", "prune", "--yes", "--limit", "h9"),
    ),
    "resume": Verb(
        ("train", "resume", "ink", "--no-follow"), _stopped_run, _active, ("train", "resume", "pen"), away=0
    ),
    "train stop": Verb(
        ("train", "stop", "ink"), _running_run, lambda fakes: not _active(fakes), ("train", "stop", "pen"), away=0
    ),
    "remove": Verb(
        ("train", "remove", "ink"),
        _run,
        lambda fakes: not (fakes.root("h1") / "runs/ink").exists(),
        ("train", "remove", "pen"),
        away=0,
        again=1,
    ),
    "start": Verb(("start", "webui"), _service(up=False), _up, ("start", "webui", "h9")),
    "stop": Verb(("stop", "webui"), _service(up=True), lambda fakes: not _up(fakes), ("stop", "webui", "h9")),
    "restart": Verb(
        ("restart", "webui"),
        _service(up=True),
        lambda fakes: _up(fakes) and f"restart {units.WEBUI}" in _text(fakes.host("h1") / "asked"),
        ("restart", "webui", "h9"),
    ),
}
every_verb = pytest.mark.parametrize("name", VERBS)


def _words(fakes: FakeHosts, verb: Verb) -> Sequence[str]:
    return (*verb.words, "--into", str(fakes.folder / "runs")) if "publish" in verb.words else verb.words


@every_verb
def test_another_host_that_is_away_is_named_and_keeps_nobody(name: str, fakes: FakeHosts) -> None:
    verb = VERBS[name]
    fakes.write({"h1": "webui train", "h2": "webui train"})
    verb.made(fakes)
    (fakes.host("h2") / "away").touch()
    ended = fakes.sdfleet(*_words(fakes, verb))
    assert ended.exit_code == verb.away, ended.output
    assert AWAY in ended.output and verb.done(fakes)


@every_verb
def test_a_service_that_is_down_keeps_no_verb_from_its_job(name: str, fakes: FakeHosts) -> None:
    verb = VERBS[name]
    fakes.write({"h1": "webui train"})
    verb.made(fakes)
    (fakes.host("h1") / "up").unlink(missing_ok=True)
    ended = fakes.sdfleet(*_words(fakes, verb))
    assert ended.exit_code == 0 and verb.done(fakes), ended.output
    if name == "publish":
        assert "not running, and will see it when started: webui" in ended.output
    if name == "rollback":
        assert "h1 r1 -> r0 in" in ended.output


@every_verb
def test_a_wrong_name_changes_nothing(name: str, fakes: FakeHosts) -> None:
    verb = VERBS[name]
    fakes.write({"h1": "webui train"})
    verb.made(fakes)
    before = killed.snapshot(fakes.root("h1"))
    ended = fakes.sdfleet(*verb.wrong)
    if "h9" in verb.wrong:
        assert ended.exit_code == 2 and "no host or group 'h9'; known are h1" in ended.output, ended.output
    else:
        assert ended.exit_code == 1 and "no run 'pen' on h1" in ended.output, ended.output
    assert killed.snapshot(fakes.root("h1")) == before and not (fakes.host("h1") / "asked").exists()


class Killed(BaseException):
    """The controller's end."""


def _moments(fakes: FakeHosts, monkeypatch: pytest.MonkeyPatch, words: Sequence[str]) -> Iterator[bool]:
    """Run sdfleet, killed before its first command on a host, then before its second, ...; at last it is not killed."""
    argv = Remote.argv
    asked, most = 0, 1

    def counted(remote: Remote, command: Sequence[str]) -> list[str]:
        nonlocal asked
        asked += 1
        if asked == most:
            raise Killed
        return argv(remote, command)

    while True:
        asked, whole = 0, True
        monkeypatch.setattr(Remote, "argv", counted)
        try:
            fakes.sdfleet(*words)
        except Killed:
            whole = False
        monkeypatch.setattr(Remote, "argv", argv)
        yield whole
        most += 1


@pytest.mark.slow
@every_verb
def test_the_controller_is_killed_before_each_of_its_commands(
    name: str, fakes: FakeHosts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    verb = VERBS[name]
    fakes.write({"h1": "webui train"})
    verb.made(fakes)
    world = killed.World(fakes.host("h1"))
    for number, whole in enumerate(_moments(fakes, monkeypatch, _words(fakes, verb))):
        if whole:
            assert number > 0 and verb.done(fakes)
            return
        ready = verb.done(fakes)
        ended = fakes.sdfleet(*_words(fakes, verb))
        assert ended.exit_code in ({0, verb.again} if ready else {0}), ended.output
        assert verb.done(fakes), (number, ended.output)
        world.again()


def shared(fakes: FakeHosts, state: str) -> None:
    """A run on h1 and h2, made of a finished one without its record; its units are as systemctl shows them."""
    fakes.write({"h1": "train", "h2": "train"})
    for rank, host in enumerate(("h1", "h2")):
        folder = run_on(fakes, host, "ink")
        (folder / "run.json").unlink()
        (folder / "turn.json").write_text(json.dumps({"nodes": {"count": 2, "rank": rank}}))
        (fakes.host(host) / "show").write_text(f"ActiveState={state}\nResult=success\nInvocationID=\n")
        for verb, then in (("disable", "inactive"), ("enable", "active")):
            shown = f"ActiveState={then}\\nResult=success\\nInvocationID=\\n"
            (fakes.host(host) / f"on-{verb}").write_text(f'printf "{shown}" >"$FAKE_HOST/show"\n')


@pytest.mark.parametrize(
    ("verb", "state", "done"),
    [("stop", "active", "Stopping ink on h1"), ("remove", "inactive", "Removed ink from h1")],
)
def test_a_shared_run_is_not_called_stopped_or_removed_while_a_host_is_away(
    verb: str, state: str, done: str, fakes: FakeHosts
) -> None:
    shared(fakes, state)
    (fakes.host("h2") / "away").touch()
    ended = fakes.sdfleet("train", verb, "ink")
    assert ended.exit_code == 1 and done in ended.output, ended.output
    assert "ink is shared with other hosts: h2 did not answer and may have it." in ended.output
    assert f"When it can be reached again: sdfleet train {verb} ink" in ended.output
    (fakes.host("h2") / "away").unlink()
    again = fakes.sdfleet("train", verb, "ink")
    assert again.exit_code == 0, again.output
    left = [(fakes.root(host) / "runs/ink").exists() for host in ("h1", "h2")]
    running = ["=active" in (fakes.host(host) / "show").read_text() for host in ("h1", "h2")]
    assert running == [False, False] and left == [verb == "stop"] * 2


def test_a_shared_run_is_not_resumed_on_fewer_hosts_unasked(fakes: FakeHosts) -> None:
    shared(fakes, "inactive")
    (fakes.host("h2") / "away").touch()
    ended = fakes.sdfleet("train", "resume", "ink", "--no-follow")
    assert ended.exit_code == 1 and "To continue without: sdfleet train resume ink --on h1" in ended.output, (
        ended.output
    )
    assert "inactive" in (fakes.host("h1") / "show").read_text(), "nothing was started"
    alone = fakes.sdfleet("train", "resume", "ink", "--no-follow", "--on", "h1")
    assert alone.exit_code == 0 and "ink resumed on h1" in alone.output, alone.output
    turn: dict[str, Any] = json.loads((fakes.root("h1") / "runs/ink/turn.json").read_text())
    assert turn["nodes"] is None


def test_a_shared_run_is_not_resumed_without_a_host_that_was_named(fakes: FakeHosts) -> None:
    shared(fakes, "inactive")
    (fakes.host("h2") / "away").touch()
    ended = fakes.sdfleet("train", "resume", "ink", "--no-follow", "--on", "h1", "--on", "h2")
    assert ended.exit_code == 1 and "h2 did not answer and may have it" in ended.output, ended.output
    assert "inactive" in (fakes.host("h1") / "show").read_text(), "nothing was started"


def test_a_part_of_a_run_that_waits_for_others_is_not_resumed_alone(fakes: FakeHosts) -> None:
    shared(fakes, "active")
    (fakes.host("h2") / "away").touch()
    ended = fakes.sdfleet("train", "resume", "ink", "--no-follow", "--on", "h1")
    assert ended.exit_code == 1, ended.output
    assert "ink still runs on h1 as a run of 2 hosts; stop it first: sdfleet train stop ink" in ended.output


def test_a_host_whose_state_cannot_be_read_keeps_no_other_from_being_stopped(
    fakes: FakeHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared(fakes, "active")
    read = RunHost.read

    def broken(host: RunHost, *rest: Any) -> Any:
        if host.name == "h2":
            raise HostError("h2: its record cannot be read")
        return read(host, *rest)

    monkeypatch.setattr(RunHost, "read", broken)
    ended = fakes.sdfleet("train", "stop", "ink")
    assert ended.exit_code == 1 and "h2: its record cannot be read" in ended.output, ended.output
    assert "inactive" in (fakes.host("h1") / "show").read_text()


def test_a_resume_that_failed_on_one_host_goes_on_there(fakes: FakeHosts) -> None:
    shared(fakes, "inactive")
    (fakes.host("h2") / "on-enable").write_text("echo Failed to enable unit: Read-only file system >&2; exit 1\n")
    ended = fakes.sdfleet("train", "resume", "ink", "--no-follow")
    assert (
        ended.exit_code == 1
        and "h2: cannot enable lora-train@ink.service: Failed to enable unit: Read-only" in ended.output
    ), ended.output
    assert "Read-only file system" in ended.output
    assert "ink was started, and waits for the others, on h1" in ended.output
    shown = "ActiveState=active\\nResult=success\\nInvocationID=\\n"
    (fakes.host("h2") / "on-enable").write_text(f'printf "{shown}" >"$FAKE_HOST/show"\n')
    again = fakes.sdfleet("train", "resume", "ink", "--no-follow")
    assert again.exit_code == 0 and "ink resumed on h1, h2" in again.output, again.output
    running = fakes.sdfleet("train", "resume", "ink", "--no-follow")
    assert running.exit_code == 0 and "ink is running already on h1, h2" in running.output, running.output


def test_a_removal_that_fails_on_one_host_is_done_on_the_other(fakes: FakeHosts) -> None:
    shared(fakes, "inactive")
    (fakes.host("h1") / "show").write_text("ActiveState=active\nResult=success\nInvocationID=\n")
    ended = fakes.sdfleet("train", "remove", "ink")
    assert ended.exit_code == 1, ended.output
    assert "h1: ink: it is still going; stop it first with `sdfleet train stop`" in ended.output
    assert "Removed ink from h2" in ended.output
