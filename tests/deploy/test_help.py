"""Every verb's --help on a terminal of 80 columns: nothing is cut, and usage lines read as manuals do."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from deploy.cli import app


def verbs(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every verb."""
    yield words
    for name, below in getattr(command, "commands", {}).items():
        if name != "lab":  # a program of its own
            yield from verbs(below, (*words, name))


@pytest.mark.parametrize("words", list(verbs(typer.main.get_command(app))), ids=" ".join)
def test_help_fits(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "80", "NO_COLOR": "1", "TERMINAL_WIDTH": "80"})
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert max(map(len, lines)) <= 80 and "…" not in done.output
    [usage] = [line for line in lines if "Usage:" in line]
    assert "[[" not in usage and "]...]" not in usage
    for name in re.findall(r"[\[{]([\w|]+)[\]}]", usage):
        assert name.isupper(), f"{name} is no metavariable"


def test_a_shell_completes_the_verbs() -> None:
    asked = {"_SDFLEET_COMPLETE": "complete_bash", "COMP_WORDS": "sdfleet ro", "COMP_CWORD": "1"}
    done = CliRunner().invoke(app, [], prog_name="sdfleet", env=asked)
    assert done.output.split() == ["rollback"]
