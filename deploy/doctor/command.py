"""The verb `doctor`."""

from typing import Annotated

import typer

from deploy.doctor import report
from deploy.options import DEFAULT_FILE, FleetFile


def doctor(
    host: Annotated[str | None, typer.Argument(metavar="HOST", help="One host; without it all are examined.")] = None,
    fleet: FleetFile = DEFAULT_FILE,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what is wrong on this machine and on the hosts, each with one thing to do; exit code 3 if something is."""
    raise typer.Exit(report.run(fleet, host, json))
