"""A file is written in one command, whole or not at all."""

import getpass
import grp
import os
import subprocess
from pathlib import Path, PurePosixPath
from types import SimpleNamespace

import pytest
from pyinfra.api.command import StringCommand

from roles.facts.seen import HostSurvey
from roles.operations import files
from roles.operations.files import private_file, put, put_command


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


def test_bytes_travel_as_text(tmp_path: Path) -> None:
    dest, content = tmp_path / "file", bytes(range(256)) * 100
    command = put(PurePosixPath(dest), content)
    [sent] = command.connector_arguments["_stdin"]
    whole = command.get_raw_value()
    if getpass.getuser() == "root":
        subprocess.run(["sh", "-c", whole], input=f"{sent}\n".encode(), check=True)
        assert dest.read_bytes() == content
    assert str(content) not in whole


def test_a_secret_travels_on_standard_input_into_a_file_that_was_closed_before() -> None:
    [command] = private_file(PurePosixPath("/etc/sdfleet/gateway/key.pem"), "s3cret\n")
    assert isinstance(command, StringCommand), "an upload of pyinfra's would pass through /tmp, for all to read"
    assert command.connector_arguments["_stdin"] == ["s3cret\n"]
    text = command.get_raw_value()
    assert "s3cret" not in text
    assert text.index("install -m 600 /dev/null") < text.index("head -c")


@pytest.mark.parametrize(("mode", "shown"), [(0o600, False), (0o640, True), (0o644, True)])
def test_a_diff_shows_only_what_others_may_read(mode: int, shown: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(files, "state", SimpleNamespace(config=SimpleNamespace(DIFF=True), is_executing=False))
    monkeypatch.setattr(files, "host", SimpleNamespace(log=lines.append, noop=lines.append))
    list(files.write(PurePosixPath("/etc/sdfleet/cache-tokens.conf"), "hf_s3cret\n", HostSurvey(), mode))
    assert any("hf_s3cret" in line for line in lines) == shown
    assert lines
