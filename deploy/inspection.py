"""The read-only verbs: verify, status, open, logs."""

from pathlib import Path
from typing import Annotated

import typer

from deploy import logs as logs_verb
from deploy import status as status_verb
from deploy import tunnel, units
from deploy import verify as verify_verb
from deploy.engine_client import select_roles
from deploy.options import DEFAULT_FILE, OPERATE, FleetFile, HostName, Limit, Role, checked_name, chosen, one_host
from training.options import given_path


def verify(
    fleet: FleetFile = DEFAULT_FILE,
    limit: Limit = None,
    role: Role = None,
    junit: Annotated[
        Path | None,
        typer.Option(metavar="FILE", callback=given_path, help="Also write a JUnit XML report to this file."),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", callback=given_path, help="Also write an HTML report to this file.")
    ] = None,
) -> None:
    """Check services, files, models and answers on the hosts (exit code 3 on drift)."""
    raise typer.Exit(verify_verb.run(chosen(fleet, limit), select_roles(role or ()), junit, html))


def status(
    fleet: FleetFile = DEFAULT_FILE,
    limit: Limit = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Show services, models, disk space and training runs of each host."""
    raise typer.Exit(status_verb.run(chosen(fleet, limit), as_json))


def open_service(
    host: HostName,
    service: Annotated[
        str | None,
        typer.Argument(
            metavar="SERVICE",
            help="webui, comfyui, lora-scripts, lora-scripts-tensorboard, or tensorboard (of training runs). Default: "
            "what draws on the host.",
        ),
    ] = None,
    fleet: FleetFile = DEFAULT_FILE,
    browser: Annotated[bool, typer.Option(help="Open it in the browser.")] = False,
) -> None:
    """Open an SSH tunnel to a service and print its URL; runs until Ctrl-C."""
    settings = one_host(fleet, host)
    raise typer.Exit(tunnel.run(settings, service or units.drawing(settings), browser))


def logs(
    host: HostName,
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="SERVICE|RUN",
            help=f"A service ({', '.join(units.SERVICES)}) or a training run. Default: what draws on the host.",
        ),
    ] = None,
    fleet: FleetFile = DEFAULT_FILE,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show new lines until Ctrl-C.")] = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", metavar="COUNT", min=1, help="Number of past lines to show.")
    ] = 50,
) -> None:
    """Show the log of a service or a training run."""
    settings = one_host(fleet, host)
    named = checked_name("WHAT", what) if what is not None else units.drawing(settings)
    raise typer.Exit(logs_verb.run(settings, named, lines, follow))


def mount(app: typer.Typer) -> None:
    """Add these verbs to `app`."""
    app.command(rich_help_panel=OPERATE)(verify)
    app.command(rich_help_panel=OPERATE)(status)
    app.command("open", rich_help_panel=OPERATE)(open_service)
    app.command(rich_help_panel=OPERATE)(logs)
