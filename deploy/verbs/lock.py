"""`sdfleet lock` and `sdfleet lock envs`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from deploy import completion
from deploy.names import DEFAULT_FILE, Application
from deploy.options import FleetFile
from training.options import CommandLine, Group, given_path


class _Verbs(Group):
    """`sdfleet lock [NAME]...` pins the fleet, `sdfleet lock envs` makes locks of environments."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Arguments that do not begin with a verb belong to the verb `fleet`."""
        if args[:1] not in [["--help"], *([name] for name in self.commands)]:
            args = [FLEET, *args]
        return super().parse_args(ctx, args)


FLEET = "fleet"
app = CommandLine(
    cls=_Verbs,
    subcommand_metavar="[COMMAND] [ARGS]...",
    help=(
        "Pin git refs, models and environments in fleet.lock.\n\n"
        "sdfleet lock alone means sdfleet lock fleet, and takes its arguments and options."
    ),
)


@app.command("envs")
def envs(
    fleet: FleetFile = DEFAULT_FILE,
    into: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", callback=given_path, help="Folder to write to. Default: locks/ beside fleet.toml."
        ),
    ] = None,
    app: Annotated[
        list[Application] | None,
        typer.Option(metavar="APP", help=f"Limit to this one of {', '.join(Application)}; repeat for more."),
    ] = None,
    python: Annotated[
        list[str] | None,
        typer.Option(metavar="VERSION", help="Python version instead of the fleet's; repeat for more."),
    ] = None,
    build: Annotated[
        list[str] | None,
        typer.Option(metavar="BUILD", help="Limit to this torch build, such as cu128; repeat for more."),
    ] = None,
    shipped: Annotated[
        bool, typer.Option("--shipped", help="Update the lock files that ship with sdfleet, in a checkout of it.")
    ] = False,
    source: Annotated[
        list[str] | None,
        typer.Option(
            metavar="'NAME: REQUIREMENT, ...'",
            help="A package without a wheel, and what it requires; repeat for more.",
        ),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Change nothing: ask other mirrors, and exit with 3 on a difference."),
    ] = False,
) -> None:
    """Write hashed lock files of the Python environments, one for each torch build, to keep beside fleet.toml."""
    from deploy.locks import envs

    envs.envs(fleet, into, app, python, build, shipped, source, verify)


@app.command(FLEET)
def lock(
    fleet: FleetFile = DEFAULT_FILE,
    upgrade: Annotated[bool, typer.Option("--upgrade", help="Look up again what the lock already has.")] = False,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify", help="Ask again through other mirrors, change nothing, and exit with 3 on a difference."
        ),
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", autocompletion=completion.updates, help="With --upgrade: only these names."),
    ] = None,
) -> None:
    """Pin every git ref, model and environment of fleet.toml in fleet.lock, and print what moved."""
    from deploy.locks import lock

    lock.lock(fleet, upgrade, verify, only)
