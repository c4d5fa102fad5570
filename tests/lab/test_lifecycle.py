"""A lab lives as long as it should, and leaves nothing."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import lab as lab_package
from inventory.errors import SdfleetError
from lab.lifecycle import cgroup2_mounts
from lab.state import LabFolder, Process, State

pytestmark = pytest.mark.lab

TREE = Path(lab_package.__file__).parents[1]
ATTACHED = """
import sys, time, pathlib, lab
with lab.attached(hosts=1, folder=pathlib.Path(sys.argv[1])):
    print("up", flush=True)
    time.sleep(600)
"""
DETACHED = """
import sys, pathlib, lab
lab.up(hosts=1, folder=pathlib.Path(sys.argv[1]))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place for a lab that no other lab's cleaning looks at."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "sdfleet/lab/test"


def start(script: str, folder: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(TREE)}
    command = [sys.executable, "-P", "-c", script, str(folder)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def record(folder: Path) -> State:
    state = LabFolder(folder).read()
    assert state is not None and state.supervisor is not None and state.supervisor.alive
    return state


def traces(folder: Path, state: State) -> list[str]:
    """What is left of a lab: processes that have a mount of it, its supervisor, its disks, its cgroup."""
    found = ["supervisor"] if state.supervisor and state.supervisor.alive else []
    for mounts in Path("/proc").glob("[0-9]*/mountinfo"):
        try:
            if str(folder) in mounts.read_text():
                found.append(f"process {mounts.parent.name} sees mounts")
        except OSError:
            continue
    left = [LabFolder(folder).hosts, LabFolder(folder).state_file, *(m / state.cgroup for m in cgroup2_mounts())]
    return [*found, *(str(path) for path in left if path.exists())]


def wait_until(true: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_owner_takes_its_lab_with_it(folder: Path, number: signal.Signals) -> None:
    with start(ATTACHED, folder) as owner:
        assert owner.stdout and owner.stdout.readline() == "up\n"
        state = record(folder)
        assert traces(folder, state)
        owner.send_signal(number)
    wait_until(lambda: not traces(folder, state))
    assert traces(folder, state) == []


def test_a_detached_lab_outlives_its_starter_until_down(folder: Path) -> None:
    with start(DETACHED, folder) as starter:
        assert starter.wait(60) == 0
    state = record(folder)
    found = lab_package.status(folder)
    assert found and found.ssh("h1", "hostname").stdout == "h1\n"
    with pytest.raises(SdfleetError, match="stop it first"):
        lab_package.up(hosts=2, folder=folder)
    assert lab_package.down(folder)
    assert traces(folder, state) == []
    assert lab_package.status(folder) is None
    assert not lab_package.down(folder)


@pytest.mark.parametrize("clean", [lambda folder: lab_package.down(folder), lambda folder: lab_package.down()])
def test_a_lab_that_died_is_cleaned_up(folder: Path, clean: Callable[[Path], bool]) -> None:
    lab_package.up(hosts=1, folder=folder)
    state = record(folder)
    assert state.supervisor
    os.kill(state.supervisor.pid, signal.SIGKILL)
    wait_until(lambda: bool(state.supervisor and not state.supervisor.alive))
    assert lab_package.status(folder) is None
    assert str(LabFolder(folder).hosts) in traces(folder, state)
    clean(folder)
    assert traces(folder, state) == []


def test_a_recycled_process_number_is_never_touched(folder: Path) -> None:
    innocent = Process.of(os.getpid())
    stale = innocent.model_copy(update={"started": innocent.started - 1})
    assert not stale.alive
    stale.signal(signal.SIGKILL)
