"""A file is written in one command, whole or not at all."""

import getpass
import grp
import os
import subprocess
from pathlib import Path, PurePosixPath

import pytest

from roles.operations.files import put_command


def _put(dest: Path, text: str, sent: bytes) -> int:
    group = grp.getgrgid(os.getgid()).gr_name
    command = put_command(PurePosixPath(dest), text.encode(), 0o640, getpass.getuser(), group)
    return subprocess.run(["sh", "-c", command], input=sent, check=False).returncode


@pytest.mark.parametrize(
    "text",
    ["", "\n", "a line\n", "no line break", "two\n\n", "ünïcödé ✓\n", 'it\'s "quoted" $HOME `id` \\n\n', "x" * 300_000],
    ids=["empty", "line break", "line", "unfinished", "two", "unicode", "quotes", "long"],
)
def test_the_file_is_the_text(text: str, tmp_path: Path) -> None:
    dest = tmp_path / "a folder" / "the file"
    assert _put(dest, text, text.encode() + b"\n") == 0
    assert dest.read_bytes() == text.encode()
    assert dest.stat().st_mode & 0o777 == 0o640
    assert [file.name for file in dest.parent.iterdir()] == ["the file"]


def test_what_broke_off_never_gets_the_name(tmp_path: Path) -> None:
    dest = tmp_path / "file"
    dest.write_text("old")
    assert _put(dest, "the new text\n", b"the new") != 0
    assert dest.read_text() == "old"
