"""Folders that apply makes, where somebody else can plant links."""

import os
import subprocess
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from pyinfra.api.command import StringCommand

from roles.facts.seen import HostSurvey
from roles.operations.files import folders
from roles.paths import Folder

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it gives folders away")


def apply(*wanted: Folder) -> "subprocess.CompletedProcess[str]":
    """What the operation's command does."""
    [command] = folders._inner(wanted, HostSurvey())
    text, given = (command, "")
    if isinstance(command, StringCommand):
        arguments: Any = command.connector_arguments
        text, given = command.get_raw_value(), "".join(arguments.get("_stdin", []))
    return subprocess.run(["sh", "-c", text], input=given, capture_output=True, text=True, timeout=30)


def test_they_get_owner_and_mode_and_missing_parents(tmp_path: Path) -> None:
    shared = Folder(PurePosixPath(tmp_path / "a/b c"), "root", "nogroup", 0o1775)
    done = apply(shared, Folder(PurePosixPath(tmp_path / "a/b c/d"), "nobody", "nogroup"))
    assert done.returncode == 0, done.stderr
    found = (tmp_path / "a/b c").stat(), (tmp_path / "a/b c/d").stat()
    assert [entry.st_mode & 0o7777 for entry in found] == [0o1775, 0o755]
    assert [entry.st_uid for entry in found] == [0, 65534]
    assert (tmp_path / "a").stat().st_uid == 0


@pytest.mark.parametrize("above", [False, True])
def test_a_planted_link_gives_nothing_away(tmp_path: Path, above: bool) -> None:
    theirs, outside = tmp_path / "data", tmp_path / "outside"
    (outside / "output").mkdir(parents=True)
    theirs.mkdir()
    os.chown(theirs, 65534, 65534)
    (theirs / "output").symlink_to(outside)
    done = apply(Folder(PurePosixPath(theirs / ("output/output" if above else "output")), "nobody", "nogroup", 0o777))
    assert [(place.stat().st_uid, place.stat().st_mode & 0o777) for place in (outside, outside / "output")] == [
        (0, 0o755),
        (0, 0o755),
    ]
    assert done.returncode == 1 and "link" in done.stderr
