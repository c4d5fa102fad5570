from typing import Annotated

import typer

from deploy.doctor import report
from deploy.options import DEFAULT_FILE, AsJson, FleetFile


def doctor(
    host: Annotated[str | None, typer.Argument(metavar="HOST", help="Host to examine. Default: all.")] = None,
    fleet: FleetFile = DEFAULT_FILE,
    as_json: AsJson = False,
) -> None:
    """Find problems on this machine and on the hosts, and say how to fix each (exit code 3 if there are any)."""
    raise typer.Exit(report.run(fleet, host, as_json))
