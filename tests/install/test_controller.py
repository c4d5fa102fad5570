"""An installation without extras: away from the checkout, with the newest and the oldest packages, on every Python."""

import json
import sys
from pathlib import Path

import pytest

from tests.install.environments import PYTHONS, TREE, Environment, find_python, make

pytestmark = pytest.mark.slow

HELP = Path(__file__).with_name("every_help.py")


def install(folder: Path, wheel: Path, python: str, lowest: bool = False) -> Environment:
    """An environment with the controller alone."""
    made = make(folder, python)
    if lowest:
        made.install(["-r", str(TREE / "pyproject.toml")], lowest=True)
    made.install(["--no-deps", str(wheel)] if lowest else [str(wheel)])
    return made


@pytest.fixture(scope="module", params=["newest", "oldest"])
def plain(request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The controller, with the newest and with the oldest packages that pyproject.toml allows."""
    return install(tmp_path_factory.mktemp("plain") / "env", wheel, sys.executable, lowest=request.param == "oldest")


def test_every_verb_answers_help_from_the_root_folder(plain: Environment) -> None:
    done = plain.run([plain.bin / "python", HELP, "sdfleet"], "/")
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout) > 35


@pytest.mark.parametrize("version", PYTHONS[1:])
def test_every_verb_answers_help_on_newer_pythons(version: str, wheel: Path, tmp_path: Path) -> None:
    python = find_python(version)
    if python is None:
        pytest.skip(f"this machine has no Python {version}")
    made = install(tmp_path / "env", wheel, python)
    done = made.run([made.bin / "python", HELP, "sdfleet"])
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_fleet_file_is_made_checked_and_described(plain: Environment, tmp_path: Path) -> None:
    written = plain.run(["sdfleet", "init"], tmp_path)
    assert written.returncode == 0, written.stderr
    checked = plain.run(["sdfleet", "check"], tmp_path)
    assert "fleet.toml is valid" in checked.stdout, checked.stderr
    assert "properties" in json.loads(plain.run(["sdfleet", "schema"], tmp_path).stdout)


@pytest.mark.parametrize(
    ("command", "extra"),
    [("sdfleet demo", "lab"), ("sdfleet lab up", "lab"), ("sdfleet dashboard", "dashboard"), ("lora-train", "train")],
)
def test_who_lacks_an_extra_is_told_in_one_sentence(plain: Environment, command: str, extra: str) -> None:
    done = plain.run(command.split())
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert f"{command} needs the {extra} extra: uv pip install --python {plain.folder}" in line
    assert line.endswith(f"[{extra}]'")
    assert done.stdout == ""


def test_nothing_of_the_trainer_is_installed(plain: Environment) -> None:
    done = plain.run([plain.bin / "python", "-c", "import PIL"])
    assert "No module named 'PIL'" in done.stderr
