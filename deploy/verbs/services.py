"""`sdfleet start`, `stop` and `restart`."""

from typing import Annotated

import typer

from deploy import completion
from deploy.names import DEFAULT_FILE, SERVICES
from deploy.options import OPERATE, FleetFile

ServiceName = Annotated[
    str, typer.Argument(metavar="SERVICE", autocompletion=completion.services, help=f"One of {', '.join(SERVICES)}.")
]
ServiceOrHost = Annotated[
    str,
    typer.Argument(
        metavar="SERVICE|HOST",
        autocompletion=completion.services_and_hosts,
        help=f"One of {', '.join(SERVICES)}; or a host or group, for all its services.",
    ),
]
Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="HOST|GROUP",
        autocompletion=completion.hosts_and_groups,
        help="Default: every host that has the service.",
    ),
]


def start(service: ServiceOrHost, names: Names = None, fleet: FleetFile = DEFAULT_FILE) -> None:
    """Start a service, or all of a host, and wait until it is ready.

    On a host without systemd that was stopped, this first starts all that was running, training runs too.
    """
    from deploy import services

    services.start(service, names, fleet)


def stop(service: ServiceName, names: Names = None, fleet: FleetFile = DEFAULT_FILE) -> None:
    """Stop a service until you start it.

    It starts again when the host boots, too, and with the next apply.
    """
    from deploy import services

    services.stop(service, names, fleet)


def restart(service: ServiceName, names: Names = None, fleet: FleetFile = DEFAULT_FILE) -> None:
    """Restart a service, a few hosts at a time.

    Waits until it is ready.

    At most fleet.rollout.max_unavailable hosts are without it at once.

    If one does not become ready, the remaining hosts are left as they are.
    """
    from deploy import services

    services.restart(service, names, fleet)


def mount(app: typer.Typer) -> None:
    """Add these verbs to `app`."""
    for verb in (start, stop, restart):
        app.command(rich_help_panel=OPERATE)(verb)
