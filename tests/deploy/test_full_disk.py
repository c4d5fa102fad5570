"""The verbs for bad days on a host whose disk is full: a sentence, nothing lost, and room makes the same verb work."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.connection.several import connect
from deploy.connection.ssh import HostError
from deploy.rollout import state
from deploy.rollout.gates import Failure
from deploy.rollout.rollout import Rollout
from inventory.load import load
from tests.deploy.fake_hosts import FakeHosts, fakes
from tests.deploy.test_emergency import blob, run_on, write_lock
from tests.deploy.test_rollback import current, serve

pytestmark = pytest.mark.slow

__all__ = ["fakes"]

NO_SPACE = "No space left on device"


class Disk:
    """The data root of h1 on a disk of its own, 1 MB large."""

    def __init__(self, root: Path) -> None:
        self.filler = root / "filler"

    def fill(self) -> None:
        """Take what is left of it."""
        with self.filler.open("wb", buffering=0) as file, pytest.raises(OSError, match=NO_SPACE):
            while True:
                file.write(bytes(4096))

    def free(self) -> None:
        """Make room."""
        self.filler.unlink()


@pytest.fixture
def disk(fakes: FakeHosts) -> Iterator[Disk]:
    """h1 with the WebUI and the trainer."""
    fakes.write({"h1": "webui train"})
    root = fakes.root("h1")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(root)], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs root to mount a small disk")
    try:
        yield Disk(root)
    finally:
        subprocess.run(["umount", str(root)], check=True)


def test_rollback(fakes: FakeHosts, disk: Disk) -> None:
    serve(fakes, "h1", "good", "new")
    disk.fill()
    done = fakes.sdfleet("rollback")
    assert done.exit_code == 1, done.output
    assert f"history.json cannot be written: {NO_SPACE}; `sdfleet models prune` makes room" in done.output
    assert current(fakes, "h1") == "r1" and (fakes.host("h1") / "it.service").read_text() == "new"
    assert not (fakes.root("h1") / "apps/webui/.history.json.new").exists()
    disk.free()
    assert fakes.sdfleet("rollback").exit_code == 0 and current(fakes, "h1") == "r0"


def test_publish(fakes: FakeHosts, disk: Disk, tmp_path: Path) -> None:
    folder = run_on(fakes, "h1", "ink")
    (folder / "output/ink.safetensors").write_bytes(bytes(100_000))
    (fakes.root("h1") / "store").mkdir()
    (fakes.root("h1") / "data/webui/models/Lora").mkdir(parents=True)
    disk.fill()
    words = ("train", "publish", "ink", "--into", str(tmp_path / "runs"))
    done = fakes.sdfleet(*words)
    assert done.exit_code == 1 and NO_SPACE in done.output, done.output
    assert list((fakes.root("h1") / "store").iterdir()) == []
    disk.free()
    done = fakes.sdfleet(*words)
    assert (
        done.exit_code == 0 and "h1 ink published; not running, and will see it when started: webui" in done.output
    ), done.output


def test_prune_makes_room(fakes: FakeHosts, disk: Disk) -> None:
    write_lock(fakes)
    unused = blob(fakes, "h1", "1" * 64)
    (fakes.root("h1") / "store/lock").touch()
    disk.fill()
    done = fakes.sdfleet("models", "prune", "--yes")
    assert done.exit_code == 0 and not unused.exists(), done.output


def test_a_run_is_removed_stopped_and_goes_on(fakes: FakeHosts, disk: Disk) -> None:
    folder = run_on(fakes, "h1", "ink")
    (folder / "run.json").unlink()
    (folder / "turn.json").write_text(json.dumps({"nodes": None}))
    disk.fill()
    done = fakes.sdfleet("train", "resume", "ink", "--no-follow")
    assert done.exit_code == 0 and "ink resumed on h1" in done.output, done.output
    (folder / "turn.json").write_text("{}")
    done = fakes.sdfleet("train", "resume", "ink", "--no-follow")
    assert done.exit_code == 1 and NO_SPACE in done.output and "Errno" not in done.output, done.output
    done = fakes.sdfleet("train", "remove", "ink")
    assert done.exit_code == 0 and not folder.exists(), done.output


def test_a_run_that_could_not_write_its_checkpoint_is_not_called_stopped(fakes: FakeHosts) -> None:
    fakes.write({"h1": "train"})
    folder = run_on(fakes, "h1", "ink")
    (folder / "run.json").unlink()
    (folder / "config.toml").write_text("")
    (fakes.host("h1") / "show").write_text("ActiveState=active\nResult=success\nInvocationID=abc\n")
    ends = json.dumps({"event": "error", "step": 3, "message": f"checkpoint/step-3: {NO_SPACE}"})
    # The stand-in for systemctl: disabling the unit ends the run, which says why it failed.
    (fakes.host("h1") / "on-disable").write_text(
        f"echo '{ends}' >>{folder}/log.jsonl; echo ActiveState=failed >{fakes.host('h1')}/show"
    )
    done = fakes.sdfleet("train", "stop", "ink")
    assert done.exit_code == 1, done.output
    assert f"ink ended, but failed: checkpoint/step-3: {NO_SPACE}" in done.output


def test_update(fakes: FakeHosts, disk: Disk) -> None:
    serve(fakes, "h1", "good", "new")
    disk.fill()
    fleet = load(fakes.file)
    with connect(fleet.hosts.values()) as remotes:
        with pytest.raises(HostError, match=NO_SPACE):
            state.write(remotes["h1"], "x", "begun", {"picture": "x" * 9000})
        assert state.read(remotes["h1"]) is None
        assert list(fakes.root("h1").glob("rollout*")) == []


def test_a_host_that_went_back_is_said_to_be_back(
    fakes: FakeHosts, disk: Disk, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(fakes, "h1", "good", "new")
    (fakes.host("h1") / "up").touch()
    fleet = load(fakes.file)
    before = {"h1": {"history": {"webui": {"release": "r1", "text": "new"}}, "releases": {}, "picture": "x" * 9000}}
    disk.fill()
    with connect(fleet.hosts.values()) as remotes:
        rollout = Rollout(fleet, "x", remotes)
        rollout.failures = [Failure("h1", "apply", "the disk is full")]
        rollout.take_back(remotes, before)
    said = capsys.readouterr()
    assert "h1 webui is still on r1" in said.out and "could not be rolled back" not in said.err
    assert "the rollback could not be recorded" in said.out
