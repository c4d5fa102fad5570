"""Folders of a service: who may look into them, and when."""

import getpass
import os
import threading
from pathlib import Path

import pytest

from roles.onhost import supervised_folders, supervisor
from tests.roles.base.machine import until

UNIT = "sdfleet-thing.service"


def test_credentials_are_closed_to_others_from_the_first_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "SECRETS", tmp_path / "run/credentials")
    slow, copy = tmp_path / "tls.key", tmp_path / f"run/credentials/{UNIT}/tls.key"
    os.mkfifo(slow)
    credentials = {"tls.key": str(slow)}
    its = {"runtime_folder": "", "cache_folder": "", "credentials": credentials, "user": getpass.getuser()}
    maker = threading.Thread(target=supervised_folders.make, args=(UNIT, its))
    before = os.umask(0o022)
    try:
        maker.start()
        until(copy.exists)
        assert (copy.parent.stat().st_mode & 0o777, copy.stat().st_mode & 0o077) == (0o700, 0)
    finally:
        slow.write_text("secret")
        maker.join()
        os.umask(before)
    assert (copy.parent.stat().st_mode & 0o777, copy.stat().st_mode & 0o777) == (0o500, 0o400)
    assert copy.read_text() == "secret"
