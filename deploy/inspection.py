"""The verbs that look at hosts, or lead there: verify, status, open, logs, ssh, exec."""

from pathlib import Path
from typing import Annotated

import typer

from deploy import logs as logs_verb
from deploy import shell, tunnel, units
from deploy import status as status_verb
from deploy import verify as verify_verb
from deploy.engine_client import select_hosts, select_roles
from deploy.options import (
    DEFAULT_FILE,
    OPERATE,
    AsJson,
    FleetFile,
    HostName,
    Limit,
    Role,
    checked_name,
    chosen,
    one_host,
)
from inventory.load import load
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
    """Check services, files, models and answers on the hosts (exit code 3 on drift)."""
    raise typer.Exit(verify_verb.run(chosen(fleet, limit), select_roles(role or ()), junit, html, as_json))


def status(
    fleet: FleetFile = DEFAULT_FILE,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """Show services, models, disk space and training runs of each host."""
    raise typer.Exit(status_verb.run(chosen(fleet, limit), as_json))


def open_service(
    host: HostName,
    service: Annotated[
        str,
        typer.Argument(
            metavar="SERVICE", help="webui, lora-scripts, lora-scripts-tensorboard, or tensorboard (of training runs)."
        ),
    ] = "webui",
    fleet: FleetFile = DEFAULT_FILE,
    browser: Annotated[bool, typer.Option(help="Open it in the browser.")] = False,
) -> None:
    """Open an SSH tunnel to a service and print its URL; runs until Ctrl-C."""
    raise typer.Exit(tunnel.run(one_host(fleet, host), service, browser))


def logs(
    hosts: Annotated[
        str, typer.Argument(metavar="HOST|GROUP", help="Host or group; several with commas between: gpu-1,gpu-2.")
    ],
    what: Annotated[
        str,
        typer.Argument(metavar="SERVICE|RUN", help=f"A service ({', '.join(units.SERVICES)}) or a training run."),
    ] = "webui",
    fleet: FleetFile = DEFAULT_FILE,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show new lines until Ctrl-C.")] = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", metavar="COUNT", min=1, help="Number of past lines to show, of each host.")
    ] = 50,
) -> None:
    """Show the log of a service or a training run, on one host or on several at once."""
    loaded = load(fleet)
    named = [loaded.hosts[name] for name in select_hosts(loaded, hosts.split(","), "logs")]
    if hosts in loaded.hosts:  # a group may have its name
        named = [loaded.hosts[hosts]]
    raise typer.Exit(logs_verb.run(named, checked_name("WHAT", what), lines, follow))


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
    """Open a shell on a host, or run a command there; key, port and jump hosts are those of fleet.toml."""
    raise typer.Exit(shell.session(one_host(fleet, host), command or ()))


def execute(
    name: Annotated[str, typer.Argument(metavar="HOST|GROUP", help="Where to run it.")],
    command: Command,
    fleet: FleetFile = DEFAULT_FILE,
    root: Annotated[bool, typer.Option("--root", help="As root. Default: as the SSH user.")] = False,
) -> None:
    """Run a command on all hosts of a group at once (exit code 1 if it fails on one)."""
    loaded = load(fleet)
    hosts = [loaded.hosts[each] for each in select_hosts(loaded, [name], "exec")]
    raise typer.Exit(shell.on_all(hosts, command, root))


def mount(app: typer.Typer) -> None:
    """Add these verbs to `app`."""
    app.command(rich_help_panel=OPERATE)(verify)
    app.command(rich_help_panel=OPERATE)(status)
    app.command("open", rich_help_panel=OPERATE)(open_service)
    app.command(rich_help_panel=OPERATE)(logs)
    app.command(rich_help_panel=OPERATE)(ssh)
    app.command("exec", rich_help_panel=OPERATE)(execute)
