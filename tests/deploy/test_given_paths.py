"""Paths on the command line that cannot be paths of this machine: a sentence, and no file of that name is made."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.cli import app
from training.cli import app as trainer

WINDOWS = "D:\\x\\y.toml"
GIVEN = {
    "check --fleet": ["check", "--fleet", WINDOWS],
    "apply --fleet": ["apply", "--fleet", WINDOWS],
    "models add --fleet": ["models", "add", "hf:a/b/c", "--fleet", WINDOWS],
    "init": ["init", WINDOWS],
    "demo": ["demo", WINDOWS],
    "lock envs --into": ["lock", "envs", "--into", WINDOWS],
    "verify --junit": ["verify", "--junit", WINDOWS],
    "verify --html": ["verify", "--html", WINDOWS],
    "train run": ["train", "run", WINDOWS],
    "train sweep": ["train", "sweep", WINDOWS, "--grid", "a=1"],
    "train report": ["train", "report", WINDOWS],
    "train fetch --into": ["train", "fetch", "ink", "--into", WINDOWS],
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("case", GIVEN)
def test_a_windows_path_is_named_as_that(case: str, here: Path) -> None:
    done = CliRunner().invoke(app, GIVEN[case], env={"COLUMNS": "200"})
    assert done.exit_code == 2
    assert "is a Windows path; write its path on this machine, with /" in done.output
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("https://x.example/fleet.toml", "is a URL; download it, and write the path of the file"),
        ("~no-such-user/fleet.toml", "there is no user 'no-such-user' on this machine; write the whole path"),
        ("x" * 300, "is too long: a name has 255 bytes at most"),
    ],
)
def test_what_else_is_no_path(given: str, told: str) -> None:
    for way in (["check", "--fleet", given], ["init", given]):
        done = CliRunner().invoke(app, way, env={"COLUMNS": "400"})
        assert done.exit_code == 2 and told in done.output


def test_the_path_in_the_variable_is_checked_too() -> None:
    done = CliRunner().invoke(app, ["check"], env={"SDFLEET_FILE": WINDOWS, "COLUMNS": "200"})
    assert done.exit_code == 2 and "is a Windows path" in done.output


def test_a_windows_path_on_a_host_is_named_before_it_is_asked() -> None:
    done = CliRunner().invoke(app, ["models", "adopt", "gpu-1", "E:\\models"])
    assert str(done.exception) == "FOLDER: 'E:\\\\models' is a Windows path; write its path on the host, with /"


def test_a_quoted_tilde_is_the_home_folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(here))
    assert CliRunner().invoke(app, ["init", "~/fleet.toml"]).exit_code == 0
    assert (here / "fleet.toml").is_file()


def test_the_trainer_takes_the_same_paths() -> None:
    done = CliRunner().invoke(trainer, ["run", "x.toml", "--run", WINDOWS], env={"COLUMNS": "200"})
    assert done.exit_code == 2 and "is a Windows path" in done.output
