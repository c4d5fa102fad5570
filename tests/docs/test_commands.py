"""Every command that a page shows exists, with the options that it is given."""

import re
from pathlib import Path
from typing import Any

import pytest
from typer import BadParameter

from tests.docs.pages import GUIDES, TREE, Typed, blocks, commands, name_of

every_page = pytest.mark.parametrize("page", GUIDES, ids=name_of)


def _options(command: Any) -> set[str]:
    return {"--help", *(name for each in command.params for name in (*each.opts, *each.secondary_opts))}


def _wrong(typed: Typed) -> str:
    command, rest, name = typed.command()
    words = [word for word in rest if not word.startswith("-")]
    if getattr(command, "commands", None) and words and not words[0].isupper():  # `sdfleet COMMAND --help`
        return f"{name} has no command {words[0]}"
    unknown = [option for option in typed.options() if option not in _options(command)]
    return f"{name} has no option {unknown[0]}" if unknown else ""


@every_page
def test_commands_and_their_options_exist(page: Path) -> None:
    assert [(typed.line, why) for typed in commands(page) if (why := _wrong(typed))] == []


@every_page
def test_commands_in_blocks_have_the_arguments_that_they_need(page: Path) -> None:
    """As a person would paste them: what a command must be given is there, and nothing that it does not take."""
    for typed in commands(page):
        command, rest, name = typed.command()
        if typed.whole and not getattr(command, "commands", None) and "--version" not in rest:
            try:
                command.make_context(name, list(rest)).close()
            except BadParameter as error:
                assert "does not exist" in str(error), typed.line  # FOLDER, and a reader's own files


@every_page
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (TREE / "Makefile").read_text(), re.MULTILINE))
    lines = [line for block in blocks(page, "sh", "") for line in block.splitlines()]
    named = [line.split()[1] for line in lines if line.startswith("make ")]
    named += re.findall(r"`make ([a-z-]+)", page.read_text())
    assert set(named) <= targets


def test_a_command_that_does_not_exist_is_seen() -> None:
    assert _wrong(Typed("sdfleet train publich ink", whole=False)) == "sdfleet train has no command publich"
    assert _wrong(Typed("sdfleet apply --no-such", whole=False)) == "sdfleet apply has no option --no-such"
    assert _wrong(Typed("sdfleet lock --upgrade webui", whole=False)) == ""
