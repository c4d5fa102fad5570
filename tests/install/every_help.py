"""Prints how many verbs of a program answer --help. Run by an installation's own Python, outside the checkout.

One process for all of them: forty starts would take a minute.
"""

import contextlib
import io
import sys
from collections.abc import Callable, Iterator
from typing import Any

import typer.main

import sdfleet


def paths(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The verbs of a command, those of its groups included."""
    yield path
    for name, below in getattr(command, "commands", {}).items():
        yield from paths(below, (*path, name))


def answers(main: Callable[[], None], *arguments: str) -> None:
    """Fail if the program does not answer `arguments` with its usage and exit code 0."""
    sys.argv = list(arguments)
    said = io.StringIO()
    code: object = None
    with contextlib.redirect_stdout(said):
        try:
            main()
        except SystemExit as stopped:
            code = stopped.code
    if code or "Usage:" not in said.getvalue():
        sys.exit(f"{' '.join(arguments)}: exit code {code}\n{said.getvalue()}")


def sdfleet_verbs() -> Iterator[tuple[str, ...]]:
    """Every verb, those of `sdfleet lab` too, which have a parser of their own."""
    from deploy.cli import app
    from lab.commands import app as lab_app

    yield from paths(typer.main.get_command(app))
    yield from (("lab", *path) for path in paths(typer.main.get_command(lab_app)))


def trainer_verbs() -> Iterator[tuple[str, ...]]:
    """Every verb of lora-train."""
    from training.cli import app

    yield from paths(typer.main.get_command(app))


if __name__ == "__main__":
    program, main, verbs = sys.argv[1], sdfleet.main, sdfleet_verbs
    if program == "lora-train":
        main, verbs = sdfleet.lora_train, trainer_verbs
    answers(main, program, "--help")  # puts the program's own folder on the path
    every = list(verbs())
    for verb in every:
        answers(main, program, *verb, "--help")
    print(len(every))
