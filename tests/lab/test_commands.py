"""`sdfleet lab`, as it is typed."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from inventory.errors import SdfleetError
from inventory.load import load
from lab import rootfs
from lab.commands import app
from lab.state import LabFolder, Rented


@pytest.fixture(autouse=True)
def own_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of this test's lab."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("SDFLEET_LAB", str(tmp_path / "mine"))
    return tmp_path / "mine"


@pytest.mark.lab
def test_a_lab_from_up_to_down(own_lab: Path) -> None:
    runner = CliRunner()
    try:
        up = runner.invoke(app, ["up", "--hosts", "1"])
        assert up.exit_code == 0, up.output
        assert f"Next: sdfleet apply --fleet {own_lab}/fleet.toml" in up.output
        assert list(load(own_lab / "fleet.toml").hosts) == ["h1"]
        status = runner.invoke(app, ["status"])
        assert "h1" in status.output and "running" in status.output
        assert runner.invoke(app, ["exec", "--", "ssh-keyscan", "-T2", "10.77.0.11"]).exit_code == 0
        assert runner.invoke(app, ["exec", "--", "sh", "-c", "exit 7"]).exit_code == 7
    finally:
        down = runner.invoke(app, ["down"])
    assert "The lab is stopped." in down.output
    assert runner.invoke(app, ["down"]).output == "No lab was running.\n"


def test_nothing_but_logs_is_left_for_the_next_lab(tmp_path: Path) -> None:
    folder = LabFolder(tmp_path)
    folder.logs.mkdir()
    for name in ("fleet.toml", "fleet.lock", "webui.lock.txt", "logs/h1.console"):
        (tmp_path / name).touch()
    folder.clear()
    assert [path.name for path in tmp_path.iterdir()] == ["logs"] and any(folder.logs.iterdir())


def test_status_without_a_lab_says_what_to_type() -> None:
    result = CliRunner().invoke(app, ["status"])
    assert isinstance(result.exception, SdfleetError)
    assert "sdfleet lab up" in str(result.exception)


def test_exec_needs_a_command() -> None:
    assert CliRunner().invoke(app, ["exec"]).exit_code == 2


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("2", [Rented(provider="autodl"), Rented(provider="autodl")]),
        ("runpod", [Rented(provider="runpod")]),
        ("vast:no-sftp", [Rented(provider="vast", sftp=False)]),
    ],
)
def test_containers_are_a_number_or_a_provider(
    given: str, meant: list[Rented], monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []

    def up(hosts: int, *arguments: object) -> None:
        started.append((hosts, arguments[3]))
        raise SdfleetError("enough seen")

    monkeypatch.setattr("lab.box.up", up)
    CliRunner().invoke(app, ["up", "--hosts", "0", "--containers", given])
    assert started == [(0, meant)]


def test_an_unknown_provider_is_told_the_known_ones() -> None:
    result = CliRunner().invoke(app, ["up", "--containers", "paperspace"])
    assert result.exit_code == 2
    assert all(name in result.output for name in ("paperspace", "autodl", "runpod", "vast"))


def test_an_unknown_release_is_told_the_known_ones() -> None:
    result = CliRunner().invoke(app, ["up", "--release", "sarge"])
    assert result.exit_code == 2
    assert all(name in result.output for name in ("sarge", "bookworm", "trixie"))


def test_an_unknown_release_in_the_environment_is_told_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(rootfs.CHOICE, "trixie")
    assert rootfs.Image().release == "trixie"
    monkeypatch.setenv(rootfs.CHOICE, "sarge")
    with pytest.raises(SdfleetError, match="sarge: the lab has bookworm and trixie"):
        rootfs.default_release()


def test_missing_programs_are_named_with_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rootfs, "NEEDED", {"no-such-program": "no-such-package"})
    with pytest.raises(SdfleetError, match="sudo apt-get install -y no-such-package"):
        rootfs.check_machine()


def test_who_is_not_root_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rootfs, "NEEDED", {})
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(SdfleetError, match="sudo"):
        rootfs.check_machine()
