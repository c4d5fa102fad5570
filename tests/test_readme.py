"""The README's commands exist and its configuration is valid, in the README as it stands."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.cli import app
from inventory.load import load
from training import config as training_config

TREE = Path(__file__).resolve().parents[1]
README = (TREE / "README.md").read_text()
COMMANDS = [
    shlex.split(line, comments=True)
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
]


@pytest.mark.parametrize("command", [words for words in COMMANDS if words[:1] == ["sdfleet"]], ids=" ".join)
def test_a_verb_of_the_readme_takes_what_it_is_given(command: list[str]) -> None:
    done = CliRunner().invoke(app, [*command[1:], "--help"])
    assert done.exit_code == 0, done.output
    options = [word for word in command if word.startswith("--")]
    assert all(option in done.output for option in options)


@pytest.mark.parametrize("command", [words for words in COMMANDS if words[:1] == ["make"]], ids=" ".join)
def test_a_make_target_of_the_readme_exists(command: list[str]) -> None:
    assert re.search(rf"^{command[1]}:", (TREE / "Makefile").read_text(), re.MULTILINE)


def test_the_fleet_file_of_the_readme_is_valid(tmp_path: Path) -> None:
    [text] = [block for block in re.findall(r"```toml\n(.*?)```", README, re.DOTALL) if "[fleet]" in block]
    file = tmp_path / "fleet.toml"
    file.write_text(text)
    assert list(load(file).hosts) == ["gpu-1"]


def test_the_training_config_of_the_docs_is_valid(tmp_path: Path) -> None:
    [text] = re.findall(r"```toml\n(.*?)```", (TREE / "docs/training.md").read_text(), re.DOTALL)
    file = tmp_path / "train.toml"
    file.write_text(text)
    assert training_config.load_config(file).name == "ink"


def test_the_links_of_the_readme_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", README)
    assert [target for target in targets if not (TREE / target).exists()] == []
