"""A host without systemd that was stopped and started, where nothing has run boot.sh since."""

import os
from pathlib import Path

import pytest

from deploy.onhost import manage, observe
from roles.onhost import init, supervisor


@pytest.fixture(autouse=True)
def without_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its image has systemd's package, as many have."""
    (tmp_path / "systemctl").write_text("#!/bin/sh\necho offline; exit 1\n")
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(init, "BOOTED", tmp_path / "none")
    for name in ("HOME", "SOCKET", "STATES"):
        monkeypatch.setattr(supervisor, name, tmp_path / "run" / name)


def test_status_tells_it_from_one_that_was_never_applied(tmp_path: Path) -> None:
    assert not observe.main(str(tmp_path), {}, {}, {})["asleep"]
    (tmp_path / "boot.sh").touch()
    assert observe.main(str(tmp_path), {}, {}, {})["asleep"]


def test_what_needs_its_services_says_how_to_start_them() -> None:
    said = manage.main("start", ["lora-train@ink.service"])
    assert said == "supervisord does not answer; run: sdfleet start HOST, which starts it and all services"
