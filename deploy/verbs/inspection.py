"""The verbs that look at hosts, or lead there: verify, status, dashboard, open, logs, ssh, exec, doctor."""

from pathlib import Path
from typing import Annotated

import typer

from deploy import completion
from deploy.names import DEFAULT_FILE, SERVICES
from deploy.options import (
    OPERATE,
    AsJson,
    FleetFile,
    HostName,
    Language,
    Limit,
    Role,
    Several,
    checked_name,
    chosen,
    one_host,
    pinned,
    several_hosts,
)
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
    as_json: AsJson = False,
) -> None:
    """Check services, files, models and answers on the hosts.

    The exit code is 3 on drift.
    """
    from deploy.engine.client import select_roles
    from deploy.verification import verify

    roles = select_roles(role or ())
    raise typer.Exit(verify.run(pinned(fleet, limit, roles), roles, junit, html, as_json))


def status(
    fleet: FleetFile = DEFAULT_FILE,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """Show services, models, disk space and training runs of each host."""
    from deploy import status

    raise typer.Exit(status.run(chosen(fleet, limit), as_json))


def dashboard(
    fleet: FleetFile = DEFAULT_FILE,
    limit: Limit = None,
    port: Annotated[
        int | None,
        typer.Option(metavar="PORT", min=1, max=65535, help="Local port. Default: 8686, or a free one."),
    ] = None,
) -> None:
    """Serve a live page of the fleet to your browser, until Ctrl-C."""
    from deploy.engine.client import select_hosts
    from inventory import extras
    from inventory.load import load

    extras.require("sdfleet dashboard")
    from deploy.dashboard import command

    loaded = load(fleet)
    raise typer.Exit(command.run(loaded, select_hosts(loaded, limit or ()), port))


def open_service(
    host: HostName,
    service: Annotated[
        str | None,
        typer.Argument(
            metavar="SERVICE",
            autocompletion=completion.services,
            help="webui, comfyui, lora-scripts, lora-scripts-tensorboard, or tensorboard (of training runs). Default: "
            "what draws on the host.",
        ),
    ] = None,
    fleet: FleetFile = DEFAULT_FILE,
    browser: Annotated[bool, typer.Option(help="Open it in the browser.")] = False,
) -> None:
    """Open an SSH tunnel to a service, until Ctrl-C."""
    from deploy import units
    from deploy.connection import tunnel

    settings = one_host(fleet, host)
    raise typer.Exit(tunnel.run(settings, service or units.drawing(settings), browser))


def logs(
    hosts: Several,
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="SERVICE|RUN",
            autocompletion=completion.services_and_runs,
            help=f"A service ({', '.join(SERVICES)}) or a training run. Default: what draws on the first host.",
        ),
    ] = None,
    fleet: FleetFile = DEFAULT_FILE,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show new lines until Ctrl-C.")] = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", metavar="COUNT", min=1, help="Number of past lines to show, of each host.")
    ] = 50,
) -> None:
    """Show the log of a service or a training run.

    With several hosts each line begins with the name of its host.
    """
    from deploy import logs, units

    named = several_hosts(fleet, hosts, "logs")
    service = checked_name("WHAT", what) if what is not None else units.drawing(named[0])
    raise typer.Exit(logs.run(named, service, lines, follow))


Command = Annotated[
    list[str],
    typer.Argument(metavar="COMMAND", help="What to run, after --: a program with its arguments, or one quoted line."),
]


def ssh(
    host: HostName,
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="COMMAND", help="What to run there, after --. Default: a shell."),
    ] = None,
    fleet: FleetFile = DEFAULT_FILE,
) -> None:
    """Open a shell on a host, or run a command there.

    Key, port and jump hosts are those of fleet.toml.
    """
    from deploy import shell

    raise typer.Exit(shell.session(one_host(fleet, host), command or ()))


def execute(
    hosts: Several,
    command: Command,
    fleet: FleetFile = DEFAULT_FILE,
    root: Annotated[bool, typer.Option("--root", help="As root. Default: as the SSH user.")] = False,
) -> None:
    """Run a command on several hosts at once.

    The exit code is 1 if it fails on one.
    """
    from deploy import shell

    raise typer.Exit(shell.on_all(several_hosts(fleet, hosts, "exec"), command, root))


def doctor(
    host: Annotated[
        str | None,
        typer.Argument(metavar="HOST", autocompletion=completion.hosts, help="Host to examine. Default: all."),
    ] = None,
    fleet: FleetFile = DEFAULT_FILE,
    as_json: AsJson = False,
    lang: Annotated[Language, typer.Option("--lang", help="Language of what it says; not of --json.")] = Language.EN,
) -> None:
    """Find problems here and on the hosts, and say how to fix each.

    The exit code is 3 if there are any.
    """
    from deploy.doctor import report

    raise typer.Exit(report.run(fleet, host, as_json, lang))


def mount(app: typer.Typer) -> None:
    """Add these verbs to `app`."""
    app.command(rich_help_panel=OPERATE)(verify)
    app.command(rich_help_panel=OPERATE)(status)
    app.command(rich_help_panel=OPERATE)(dashboard)
    app.command("open", rich_help_panel=OPERATE)(open_service)
    app.command(rich_help_panel=OPERATE)(logs)
    app.command(rich_help_panel=OPERATE)(ssh)
    app.command("exec", rich_help_panel=OPERATE)(execute)
