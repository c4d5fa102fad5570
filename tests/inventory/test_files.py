"""Files that commands replace: never half, never by two at once, never lost with a full disk."""

import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from deploy.connection.remembered import Remembered
from deploy.rollout.command import Moved
from inventory.edit import append_model
from inventory.errors import SdfleetError
from inventory.files import replace_file
from inventory.load import load
from roles.models.config import Model

TREE = Path(__file__).resolve().parents[2]
FULL = """
import sys
from pathlib import Path
from typing import Any
sys.path.insert(0, {tree!r})
from inventory.errors import SdfleetError
from inventory.files import replace_file
try:
    replace_file(Path({file!r}), "new" * 2_000_000)
except SdfleetError as error:
    print(error)
"""


def test_a_file_is_replaced_whole_with_its_mode_and_through_its_link(tmp_path: Path) -> None:
    file, link = tmp_path / "fleet.lock", tmp_path / "link"
    replace_file(file, "one")
    file.chmod(0o640)
    link.symlink_to(file)
    replace_file(link, b"two")
    assert (file.read_text(), file.stat().st_mode & 0o777, link.is_symlink()) == ("two", 0o640, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fleet.lock", "link"]


@pytest.mark.parametrize(("owner", "step"), [(os, "fsync"), (Path, "replace"), (os, "fchmod")])
def test_a_write_that_fails_leaves_what_was_there(
    tmp_path: Path, owner: Any, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "fleet.lock"
    replace_file(file, "one")

    def fails(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(owner, step, fails)
        with pytest.raises(
            SdfleetError, match=r"fleet\.lock: cannot be written: No space left on device; it was not changed"
        ):
            replace_file(file, "two")
    assert file.read_text() == "one" and [path.name for path in tmp_path.iterdir()] == ["fleet.lock"]


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    """On a real file system of 1 MB, in a mount namespace of its own."""
    file = tmp_path / "disk/fleet.lock"
    file.parent.mkdir()
    program = FULL.format(tree=str(TREE), file=str(file))
    disk = file.parent
    script = (
        f"mount -t tmpfs -o size=1M none {disk} && echo old >{file} && {sys.executable} - && cat {file}; ls -A {disk}"
    )
    done = subprocess.run(["unshare", "--mount", "sh", "-c", script], input=program, capture_output=True, text=True)
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip("needs root for a mount namespace")
    said, *rest = done.stdout.splitlines()
    assert "No space left on device; it was not changed" in said, done
    assert rest == ["old", "fleet.lock"]


def test_eight_at_once_add_eight_models(tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text('[fleet]\nname = "a" # kept\n[hosts.a]\naddress = "x"\n')
    models = [Model(name=f"m{n}", kind="lora", source=f"https://x.example/{n}.safetensors") for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda model: append_model(file, model), models))
    assert {model.name for model in load(file).hosts["a"].models} >= {model.name for model in models}
    assert "# kept" in file.read_text()


def test_a_refused_lock_and_the_old_one_are_both_kept_when_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "fleet.lock"
    file.write_text("new")

    def fails(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(SdfleetError):
        Moved(file, b"old").restore()
    assert file.read_text() == "new", "the lock is gone"


def test_what_is_remembered_of_a_host_waits_for_no_busy_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[int] = []
    monkeypatch.setattr(os, "fsync", waits.append)
    for seen in (1, 2):
        Remembered(tmp_path, "h1").write({"seen": seen})
    assert Remembered(tmp_path, "h1").read(1000) == {"seen": 2} and not waits
    replace_file(tmp_path / "fleet.lock", "kept")
    assert waits
