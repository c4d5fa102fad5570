"""The command line: one short function per verb; the work is in the modules beside this one."""

import contextlib
import itertools
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any

import typer

from deploy import interrupts
from deploy.names import DEFAULT_FILE
from deploy.options import (
    CONTENT,
    DEPLOY,
    LOCAL,
    OPERATE,
    SETUP,
    AsJson,
    Diff,
    FleetFile,
    Limit,
    Role,
    command_with_json,
)
from deploy.verbs import inspection, lock, models, rollout, services, setup, training
from inventory.errors import FAILED, OK, SdfleetError
from training.options import CommandLine, Group, given_path

PROGRAM = "sdfleet"


class _InterruptedError(Exception):
    """Ctrl-C; typer ends the program at a KeyboardInterrupt and says nothing."""


class _Verbs(Group):
    """All commands."""

    def list_commands(self, ctx: Any) -> list[str]:
        """In the order of the headings of --help; typer puts groups behind all others."""
        order = (SETUP, DEPLOY, OPERATE, CONTENT, LOCAL)
        commands: dict[str, Any] = dict(self.commands)
        return sorted(commands, key=lambda name: order.index(commands[name].rich_help_panel))

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            raise _InterruptedError from interrupt


app = CommandLine(
    name=PROGRAM,
    cls=_Verbs,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Provision, verify, update and train on your own Stable Diffusion GPU servers, from one fleet.toml.",
)

Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show every operation, and a traceback on errors.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        sys.stdout.write(f"{PROGRAM} {metadata.version(PROGRAM)}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


setup.mount(app)


@app.command(rich_help_panel=DEPLOY)
def plan(
    fleet: FleetFile = DEFAULT_FILE,
    limit: Limit = None,
    role: Role = None,
    diff: Diff = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Show what apply would change."""
    from deploy import comparison

    raise typer.Exit(comparison.plan(fleet, limit or (), role or (), diff, verbose, as_json))


@app.command(rich_help_panel=DEPLOY)
def apply(
    fleet: FleetFile = DEFAULT_FILE,
    limit: Limit = None,
    role: Role = None,
    diff: Diff = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Bring the hosts to the state that fleet.toml describes."""
    from deploy import comparison

    raise typer.Exit(comparison.apply(fleet, limit or (), role or (), diff, verbose, as_json))


@app.command(rich_help_panel=OPERATE)
def drift(fleet: FleetFile = DEFAULT_FILE, limit: Limit = None, role: Role = None, as_json: AsJson = False) -> None:
    """Compare the hosts with fleet.toml without changing anything.

    The exit code is 3 on drift.
    """
    from deploy import comparison

    raise typer.Exit(comparison.drift(fleet, limit or (), role or (), as_json))


@app.command(rich_help_panel=LOCAL)
def demo(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", callback=given_path, help="Folder for the report and its files.")
    ] = Path("demo"),
) -> None:
    """Provision two test machines here, train a LoRA, write a report.

    Needs root.
    """
    from inventory import extras

    extras.require("sdfleet demo")
    from deploy import demo

    demo.run(folder)


@app.command(
    "lab",
    rich_help_panel=LOCAL,
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def run_lab(context: typer.Context) -> None:
    """Manage local test machines (needs root)."""
    from lab.commands import app as lab_app

    lab_app(context.args, prog_name="sdfleet lab")


app.add_typer(lock.app, name="lock", rich_help_panel=SETUP)
rollout.mount(app)
inspection.mount(app)
services.mount(app)
app.command(rich_help_panel=OPERATE)(inspection.doctor)
app.add_typer(models.app, name="models", rich_help_panel=CONTENT)
app.add_typer(training.app, name="train", rich_help_panel=CONTENT)


def run(arguments: Sequence[str] | None = None) -> None:
    """The console script: prints errors without a traceback and exits with 0, 1, 2 or 3, or 128 and a signal."""
    sys.excepthook = _show_traceback
    arguments = sys.argv[1:] if arguments is None else arguments
    command = command_with_json(app, arguments)
    try:
        # By itself, typer would end the program on wrong usage before a document could tell of it.
        code = app(arguments, prog_name=PROGRAM, standalone_mode=not command)
    except SystemExit as end:
        code = end.code
    except (KeyboardInterrupt, _InterruptedError):
        with contextlib.suppress(OSError):  # the terminal may be gone
            _say("Interrupted. Run the same command again to continue.")
        code = interrupts.INTERRUPTED
    except Exception as error:
        # After a signal it is mostly the output to a terminal that is gone.
        code = interrupts.INTERRUPTED if interrupts.asked() else _failed(error, arguments, command)
    sys.exit(interrupts.exit_code() if code == interrupts.INTERRUPTED else code or OK)


def _failed(error: Exception, arguments: Sequence[str], command: str) -> int:
    """Print what ended a command. Returns the exit code; raises `error` if it is a mistake of ours.

    + command: if it was asked for a document
    """
    from deploy.console import styled
    from deploy.documents import Document
    from deploy.failures import failures

    if not (found := failures(error)):
        raise error
    if {"-v", "--verbose"} & set(itertools.takewhile(lambda word: word != "--", arguments)):
        _say(traceback.format_exc().rstrip())
    else:
        for line in (str(error) if isinstance(error, SdfleetError) else found[0].sentence()).splitlines():
            _say(styled("[bold red]error[/] {}", line))
    code: int = getattr(error, "exit_code", FAILED)
    if command:
        Document(command=command, exit_code=code, errors=found).write()
    return code


def _say(text: Any) -> None:
    from deploy.console import err

    err.print(text)


def _show_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """For bugs. Through our console, because the text may contain control characters from elsewhere."""
    _say("".join(traceback.format_exception(kind, error, trace)).rstrip())
