"""A file that a sudo login sends is at no time another user's to read or to swap."""

import os
import shutil
import stat
import subprocess
from pathlib import Path, PurePosixPath

import pytest
from pyinfra.api.command import FileUploadCommand, StringCommand

from roles.operations.upload import upload

TREE = Path(__file__).resolve().parents[2]
LOGIN = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="plays root and a login")


def _commands(source: Path, dest: Path) -> tuple[str, FileUploadCommand, str]:
    prepare, send, take = upload(source, PurePosixPath(dest))
    assert (
        isinstance(prepare, StringCommand) and isinstance(send, FileUploadCommand) and isinstance(take, StringCommand)
    )
    return prepare.get_raw_value(), send, take.get_raw_value()


def _as_root(command: str) -> int:
    """Run a command as sudo would for the login."""
    return subprocess.run(["sh", "-c", command], env={**os.environ, "SUDO_UID": str(LOGIN)}, check=False).returncode


@needs_root
def test_the_login_writes_into_a_folder_that_only_it_can_enter(tmp_path: Path) -> None:
    source, dest = tmp_path / "model", tmp_path / "the store" / "partial" / "abc"
    source.write_bytes(b"weights")
    dest.parent.mkdir(parents=True)
    dest.write_bytes(b"what an earlier try left, and more")
    prepare, send, take = _commands(source, dest)
    assert _as_root(prepare) == 0
    arrived = Path(send.dest)
    found = arrived.parent.stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o700, LOGIN)
    assert send.connector_arguments["_sudo"] is False, "with sudo pyinfra goes through /tmp"
    shutil.copy(source, arrived)
    os.chown(arrived, LOGIN, LOGIN)
    assert _as_root(take) == 0
    kept = dest.stat()
    assert (dest.read_bytes(), kept.st_uid, stat.S_IMODE(kept.st_mode)) == (b"weights", 0, 0o600)
    assert [file.name for file in dest.parent.parent.iterdir()] == ["partial"]


@needs_root
def test_what_broke_off_is_an_error_and_is_cleared_away_by_the_next(tmp_path: Path) -> None:
    dest = tmp_path / "partial" / "abc"
    dest.parent.mkdir()
    prepare, _, take = _commands(tmp_path / "model", dest)
    assert _as_root(prepare) == 0
    again, send, _ = _commands(tmp_path / "model", dest)
    assert _as_root(again) == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(["partial", Path(send.dest).parent.name])
    assert _as_root(take) != 0, "nothing had arrived"
    assert not dest.exists()


def test_nobody_can_foresee_where_it_arrives(tmp_path: Path) -> None:
    places = {_commands(tmp_path / "model", tmp_path / "partial/abc")[1].dest for _ in range(8)}
    assert len(places) == 8


def test_nothing_else_is_sent_by_pyinfras_upload() -> None:
    sources = [file for part in ("roles", "deploy", "inventory") for file in (TREE / part).rglob("*.py")]
    using = [file.relative_to(TREE) for file in sources if "FileUploadCommand(" in file.read_text()]
    assert using == [Path("roles/operations/upload.py")]
