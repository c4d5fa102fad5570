"""Why a command cannot be started as an unprivileged user."""

import argparse
import errno
import os
import pwd
from collections.abc import Callable
from pathlib import Path

import pytest

from roles.onhost import offline, unprivileged


def said(capfd: pytest.CaptureFixture[str], folder: Path, *command: str, offline: bool = False) -> str:
    """What is said of a command that cannot be started, as the user that we are."""
    user = pwd.getpwuid(os.geteuid()).pw_name
    wanted = {"user": user, "seconds": 20, "memory": 0, "folder": "", "set": [], "command": command, "offline": offline}
    assert unprivileged._run(argparse.Namespace(**wanted), str(folder)) == 1
    return capfd.readouterr().err


@pytest.mark.parametrize("without", [False, True])
def test_a_program_that_is_missing(tmp_path: Path, capfd: pytest.CaptureFixture[str], without: bool) -> None:
    text = said(capfd, tmp_path, "/none/at-all", offline=without)
    assert text == "/none/at-all cannot be started: [Errno 2] No such file or directory: '/none/at-all'\n"


def test_a_host_that_cannot_take_the_network_away(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offline, "LIBRARY", "libnone.so")
    text = said(capfd, tmp_path, "true", offline=True)
    assert text.startswith("true cannot be started without rights and a network: libnone.so: cannot open")


def test_a_kernel_that_refuses_to_take_rights_away(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(*_: object) -> Callable[[], None]:
        def refused() -> None:
            raise OSError(errno.EINVAL, "Invalid argument", "prctl 38")

        return refused

    monkeypatch.setattr(unprivileged, "confinement", refusing)
    text = said(capfd, tmp_path, "true")
    assert text == "true cannot be started without rights: [Errno 22] Invalid argument: 'prctl 38'\n"
