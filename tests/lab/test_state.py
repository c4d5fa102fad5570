"""A lab's files."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from inventory.errors import SdfleetError
from lab import lifecycle
from lab.files import delete
from lab.state import LabFolder, Process, State

SLOW_TO_END = (
    "import signal, time; signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.5), exit())); print(); time.sleep(99)"
)
"""A supervisor that takes its time after SIGTERM."""


def test_a_tree_is_deleted_and_nothing_that_its_links_lead_to(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    (kept / "folder").mkdir(parents=True)
    (kept / "file").write_text("kept")
    tree = tmp_path / "tree"
    for number in range(40):
        (tree / f"{number}/below").mkdir(parents=True)
        (tree / f"{number}/below/file").write_text("gone")
    (tree / "hard").hardlink_to(kept / "file")
    (tree / "folder").symlink_to(kept / "folder")
    (tree / "file").symlink_to(kept / "file")
    (tree / "dangling").symlink_to(tmp_path / "nowhere")
    delete(tree)
    assert not tree.exists()
    assert (kept / "file").read_text() == "kept" and (kept / "folder").is_dir()
    delete(tree)
    linked = tmp_path / "linked"
    linked.symlink_to(kept)
    delete(linked)
    assert (kept / "file").read_text() == "kept", "a link in place of the folder was followed"


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[LabFolder, Process]]:
    """A lab of one host that runs, as far as its record tells, and its supervisor; no other lab really starts."""
    lab = LabFolder(tmp_path / "labs/mine")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr("lab.rootfs.check_machine", lambda: None)
    monkeypatch.setattr("lab.rootfs.ensure", lambda *_: tmp_path)
    lab.path.mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", SLOW_TO_END], stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline()
        threading.Thread(target=process.wait).start()  # no zombie is left, as with the real one
        supervisor = Process.of(process.pid)
        owner = Process.of(os.getpid())
        lab.write(State(owner=owner, rootfs=tmp_path, cgroup="x", hosts=(), packages_port=1, supervisor=supervisor))
        lab.control.touch()
        yield lab, supervisor
        process.kill()


def test_a_lab_that_is_ending_is_waited_for(old: tuple[LabFolder, Process], monkeypatch: pytest.MonkeyPatch) -> None:
    lab, supervisor = old

    class Launch:
        def __init__(self, folder: LabFolder, plan: object) -> None:
            assert not supervisor.alive and not folder.state_file.exists()
            self.lab = "the new one"

        def release(self) -> None:
            pass

    monkeypatch.setattr(lifecycle, "Launch", Launch)
    for hosts in (1, 2):
        with pytest.raises(SdfleetError, match="stop it first"):
            lifecycle.up(hosts=hosts, folder=lab.path)
    with monkeypatch.context() as interrupted:
        interrupted.setattr(lifecycle, "_stop", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            lifecycle.down(lab.path)
    assert supervisor.alive and lifecycle.status(lab.path) is None
    assert lifecycle.up(hosts=1, folder=lab.path) == "the new one"  # type: ignore[comparison-overlap]
