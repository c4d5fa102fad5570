"""The --help of every verb of both programs, in a pipe of 80 columns: nothing is cut, and it reads as manuals do."""

import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from deploy.cli import app
from lab.commands import app as lab
from training.cli import app as trainer

PROGRAMS = {"sdfleet": app, "sdfleet lab": lab, "lora-train": trainer}
PYTHON = ("list[", "None", "Path", "str]")
"""Words of Python's that a list-valued option would show as its type."""


def verbs(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The words of every verb, and its command."""
    yield words, command
    for name, below in getattr(command, "commands", {}).items():
        if name != "lab":  # a program of its own
            yield from verbs(below, (*words, name))


EVERY = [
    pytest.param(program, words, command, id=" ".join((program, *words)))
    for program, application in PROGRAMS.items()
    for words, command in verbs(typer.main.get_command(application))
]


@pytest.mark.parametrize(("program", "words", "command"), EVERY)
def test_help_fits(program: str, words: tuple[str, ...], command: Any) -> None:
    narrow = {"COLUMNS": "80", "NO_COLOR": "1"}
    done = CliRunner().invoke(PROGRAMS[program], [*words, "--help"], env=narrow)
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert max(map(len, lines)) <= 80 and "…" not in done.output and "\x1b" not in done.output
    [usage] = [line for line in lines if "Usage:" in line]
    assert "[[" not in usage and "]...]" not in usage
    # Of what typer puts between < and > only choices are of use; the rest are Python's types.
    assert all("|" in shown for shown in re.findall(r"<[a-z][^<>]*>", done.output))
    for name in re.findall(r"[\[{]([\w|]+)[\]}]", usage):
        assert name.isupper(), f"{name} is no metavariable"


@pytest.mark.parametrize(("program", "words", "command"), EVERY)
def test_every_option_and_argument_is_explained(program: str, words: tuple[str, ...], command: Any) -> None:
    assert command.help and command.help.splitlines()[0].rstrip().endswith((".", "/")), command.help
    for one in command.params:
        assert one.help and one.help.rstrip().endswith((".", ")")), f"{one.name}: {one.help}"
        label = one.metavar or ""
        if one.multiple or one.nargs != 1:
            assert label, f"{one.name} would show a type of Python's"
        assert not any(word in label for word in PYTHON)


@pytest.mark.parametrize(("program", "words", "command"), EVERY)
def test_paragraphs_are_wrapped_by_the_terminal(program: str, words: tuple[str, ...], command: Any) -> None:
    """From the second paragraph on, a line break of the docstring would be one on the screen."""
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n")[1:]:
        assert "\n" not in paragraph


def test_the_headings_of_all_commands_stand_in_the_order_of_a_first_day() -> None:
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "80"}).output
    headings = ["Set up", "Deploy", "Operate", "Models and training", "Try it locally"]
    assert sorted(headings, key=lambda heading: shown.index(f"─ {heading} ")) == headings


@pytest.mark.parametrize("words", [[], ["train"], ["models"]])
def test_a_list_of_commands_takes_a_line_for_each(words: list[str]) -> None:
    shown = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "80"}).output
    listed = shown.partition("Show this message and exit.")[2]
    assert [line for line in listed.splitlines() if line.startswith("│  ")] == []


def test_lock_alone_is_a_command_and_its_help_says_so() -> None:
    done = CliRunner().invoke(app, ["lock", "--help"], env={"COLUMNS": "80"})
    assert "lock [OPTIONS] [COMMAND] [ARGS]..." in done.output
    assert "sdfleet lock alone means sdfleet lock fleet" in " ".join(done.output.split())


def test_a_shell_completes_the_verbs() -> None:
    asked = {"_SDFLEET_COMPLETE": "complete_bash", "COMP_WORDS": "sdfleet ro", "COMP_CWORD": "1"}
    done = CliRunner().invoke(app, [], prog_name="sdfleet", env=asked)
    assert done.output.split() == ["rollback"]
