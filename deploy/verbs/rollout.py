"""`sdfleet update`, `releases` and `rollback`."""

from typing import Annotated

import typer

from deploy import completion
from deploy.names import APPS, DEFAULT_FILE
from deploy.options import DEPLOY, AsJson, FleetFile, Limit


def update(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            autocompletion=completion.updates,
            help="What to update: webui, comfyui, lora_scripts, or the name of a model. Default: everything.",
        ),
    ] = None,
    fleet: FleetFile = DEFAULT_FILE,
    limit: Limit = None,
    locked: Annotated[
        bool, typer.Option("--locked", help="Keep fleet.lock as it is. Also resumes an interrupted update.")
    ] = False,
    pause: Annotated[bool, typer.Option("--pause", help="Ask before each wave but the first.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Stop training runs for the update; they resume afterwards.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show every operation.")] = False,
) -> None:
    """Update in waves, a canary first.

    Each wave is checked, and rolled back if a check fails.
    """
    from deploy.rollout import command

    command.update(names, fleet, limit, locked, pause, force, verbose)


def releases(fleet: FleetFile = DEFAULT_FILE, limit: Limit = None, as_json: AsJson = False) -> None:
    """List the releases on the hosts, and which one is in use."""
    from deploy import releases

    releases.releases(fleet, limit, as_json)


def rollback(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="HOST|GROUP",
            autocompletion=completion.hosts_and_groups,
            help="Default: every host that has the application.",
        ),
    ] = None,
    to: Annotated[
        str | None, typer.Option(metavar="RELEASE", help="Release to go back to. Default: the previous one.")
    ] = None,
    app: Annotated[
        str, typer.Option(autocompletion=completion.applications, help=f"Which application: {', '.join(APPS)}.")
    ] = "webui",
    now: Annotated[bool, typer.Option("--now", help="Do not wait for running generations.")] = False,
    fleet: FleetFile = DEFAULT_FILE,
) -> None:
    """Go back to the previous release, in seconds.

    Needs no network and builds nothing.

    A host that cannot be reached does not stop the others.
    """
    from deploy import releases

    releases.rollback(names, to, app, now, fleet)


def mount(app: typer.Typer) -> None:
    """Add these verbs to `app`."""
    for verb in (update, releases, rollback):
        app.command(rich_help_panel=DEPLOY)(verb)
