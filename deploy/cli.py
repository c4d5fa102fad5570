"""The command line: one short function per verb; the work is in the modules beside this one."""

import itertools
import sys
import time
import traceback
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Annotated

import typer

from deploy import engine_client, inspection, lock, models, releases, services, train
from deploy.console import err, out, styled
from deploy.doctor.command import doctor
from deploy.engine_view import EngineView, together
from deploy.events import Request
from deploy.failures import failures
from deploy.options import (
    CONTENT,
    DEFAULT_FILE,
    DEPLOY,
    LOCAL,
    OPERATE,
    SETUP,
    AsJson,
    Diff,
    FleetFile,
    HostName,
    Limit,
    Role,
    command_with_json,
    one_host,
)
from deploy.preflight import checked
from deploy.rollout import command as rollout
from deploy.shapes import Document
from inventory import edit, example, extras, reference, schema
from inventory.errors import DRIFT, FAILED, OK, ConfigError, SdfleetError
from inventory.load import load
from inventory.model import ROLES, Fleet
from training.options import CommandLine, given_path

app = CommandLine(
    name="sdfleet",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Provision, verify, update and train on your own Stable Diffusion GPU servers, from one fleet.toml.",
)

Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show every operation, and a traceback on errors.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"sdfleet {metadata.version(extras.DISTRIBUTION)}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@app.command(rich_help_panel=SETUP)
def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", callback=given_path, help="File to write.")] = DEFAULT_FILE,
) -> None:
    """Write a commented fleet.toml to start from."""
    example.write(file)
    out.print(f"Wrote {file}. Edit its [hosts.*] tables, then: sdfleet check")


@app.command(rich_help_panel=SETUP)
def check(fleet: FleetFile = DEFAULT_FILE) -> None:
    """Validate fleet.toml and list every mistake (exit code 2 if there are any)."""
    loaded = checked(fleet)
    for note in loaded.notes:
        out.print(styled("[yellow]note[/] {}", note))
    try:
        lock.require(loaded, tuple(loaded.hosts), ROLES)
        todo = "sdfleet plan"
    except ConfigError:
        todo = "sdfleet lock"
    out.print(f"{fleet} is valid: {len(loaded.hosts)} host(s). Next: {todo}")


@app.command(rich_help_panel=SETUP)
def config(
    host: Annotated[str | None, typer.Argument(metavar="HOST", help="Host to show. Default: the fleet's.")] = None,
    fleet: FleetFile = DEFAULT_FILE,
    as_json: AsJson = False,
) -> None:
    """Print the merged settings as TOML, and where each comes from. Secrets are not shown."""
    from deploy import config as settings

    raise typer.Exit(settings.run(fleet, host, as_json))


@app.command(rich_help_panel=SETUP)
def trust(
    host: HostName,
    fleet: FleetFile = DEFAULT_FILE,
    replace_host_key: Annotated[
        bool, typer.Option("--replace-host-key", help="Accept a new host key, for example after a reinstall.")
    ] = False,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="First write this address of the host into fleet.toml, as the provider shows it: "
            '"ssh -p 2222 root@HOST". For a container that was made anew.',
        ),
    ] = None,
) -> None:
    """Log in by password once and install this machine's SSH key on the host."""
    from deploy import trust as trusting

    if address is not None:
        one_host(fleet, host)
        edit.move_host(fleet, host, address)
        out.print(f"{fleet}: hosts.{host}.address is now {address!r}")
    trusting.run(one_host(fleet, host), replace_host_key=replace_host_key)


@app.command("schema", rich_help_panel=SETUP)
def print_schema(
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown instead of JSON Schema.")] = False,
) -> None:
    """Print the JSON Schema of fleet.toml, for editors."""
    sys.stdout.write(reference.text() if markdown else schema.text())


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
    loaded = load(fleet)
    request = _request(loaded, limit, role, apply=False, diff=diff)
    view = engine_client.run(loaded, request, "Next: sdfleet apply", verbose, "Next: sdfleet verify")
    raise typer.Exit(_told("plan", [view], FAILED if view.failed else OK, as_json))


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
    loaded = load(fleet)
    request = _request(loaded, limit, role, apply=True, diff=diff)
    # If the cache fails, the hosts use the mirrors behind it; the failure is reported again below.
    first = engine_client.cache_first(loaded, request, verbose)
    view = engine_client.run(loaded, request, "Next: sdfleet verify", verbose)
    views = [first, view] if first else [view]
    raise typer.Exit(_told("apply", views, FAILED if view.failed else OK, as_json))


@app.command(rich_help_panel=OPERATE)
def drift(fleet: FleetFile = DEFAULT_FILE, limit: Limit = None, role: Role = None, as_json: AsJson = False) -> None:
    """Compare the hosts with fleet.toml without changing anything (exit code 3 on drift)."""
    loaded = load(fleet)
    request = _request(loaded, limit, role, apply=False, diff=False)
    todo = "Next: sdfleet apply, or sdfleet update to do it in waves"
    view = engine_client.run(loaded, request, todo, False, "No drift.")
    raise typer.Exit(_told("drift", [view], FAILED if view.failed else DRIFT if view.changed else OK, as_json))


def _request(fleet: Fleet, limit: list[str] | None, role: list[str] | None, apply: bool, diff: bool) -> Request:
    hosts, roles = engine_client.select_hosts(fleet, limit or ()), engine_client.select_roles(role or ())
    lock.require(fleet, hosts, roles)
    return Request(fleet=str(fleet.file), hosts=hosts, roles=roles, apply=apply, files_needed=apply, diff=diff)


def _told(command: str, views: Sequence[EngineView], code: int, as_json: bool) -> int:
    """Print the document of what was planned or applied, if asked to. Returns `code`."""
    if as_json:
        seconds = time.monotonic() - views[0].began
        Document(command=command, exit_code=code, seconds=seconds, hosts=together(views)).write()
    return code


@app.command(rich_help_panel=LOCAL)
def demo(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", callback=given_path, help="Folder for the report and its files.")
    ] = Path("demo"),
) -> None:
    """Provision two local test machines, train a LoRA, and write a report (needs root)."""
    extras.require("sdfleet demo")
    from deploy import demo as demo_verb

    demo_verb.run(folder)


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
releases.mount(app)
inspection.mount(app)
services.mount(app)
app.command(rich_help_panel=OPERATE)(doctor)
app.add_typer(models.app, name="models", rich_help_panel=CONTENT)
app.add_typer(train.app, name="train", rich_help_panel=CONTENT)


def run(arguments: Sequence[str] | None = None) -> None:
    """The console script: prints errors without a traceback and exits with 0, 1, 2 or 3."""
    sys.excepthook = _show_traceback
    arguments = sys.argv[1:] if arguments is None else arguments
    command = command_with_json(app, arguments)
    try:
        # By itself, typer would end the program on wrong usage before a document could tell of it.
        code = app(arguments, prog_name=extras.DISTRIBUTION, standalone_mode=not command)
    except KeyboardInterrupt:
        err.print("Interrupted. Run the same command again to continue.")
        sys.exit(130)
    except Exception as error:
        if not (found := failures(error)):
            raise
        if {"-v", "--verbose"} & set(itertools.takewhile(lambda word: word != "--", arguments)):
            err.print(traceback.format_exc().rstrip())
        else:
            _say(str(error) if isinstance(error, SdfleetError) else found[0].sentence())
        code = getattr(error, "exit_code", FAILED)
        if command:
            Document(command=command, exit_code=code, errors=found).write()
    sys.exit(code or OK)


def _say(error: str) -> None:
    for line in error.splitlines():
        err.print(styled("[bold red]error[/] {}", line))


def _show_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """For bugs. Through our console, because the text may contain control characters from elsewhere."""
    err.print("".join(traceback.format_exception(kind, error, trace)).rstrip())
