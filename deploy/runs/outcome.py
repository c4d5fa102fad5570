"""Follow a run to its end, then fetch its files and write its report."""

from collections.abc import Sequence
from pathlib import Path

import typer

from deploy.console import err, out
from deploy.interrupts import INTERRUPTED
from deploy.runs.follow import Ended
from deploy.runs.follow import follow as watch
from deploy.runs.report import write as write_report
from deploy.runs.then import still_costs, stop_all
from deploy.runs.transfer import RunHost, Sent
from inventory.errors import SdfleetError


def sent(run: str, host: str) -> Sent:
    """Prints how many files of a run are sent."""
    return lambda new, of: out.print(f"Sending {run} to {host}: {new} of {of} file(s) are new")


def follow_and_fetch(host: RunHost, run: str, into: Path, stops: Sequence[RunHost] = ()) -> None:
    """Follow a run to its end, print the result, and fetch its files. Raises SdfleetError unless it finished.

    + stops: the hosts of the run, this one first, if they are to be stopped when all files are here
    """
    out.print(f"Following {run} on {host.name}; Ctrl-C leaves it running there")
    try:
        ended = watch(host, run)
    except KeyboardInterrupt:
        then = " --then stop" if stops else ""
        out.print(f"The run continues; to follow it again: sdfleet train follow {run}{then}")
        raise typer.Exit(INTERRUPTED) from None
    try:
        _report(host, run, ended)
        bring(host, run, into)
    except (SdfleetError, OSError):
        for stop in stops:
            err.print(still_costs(stop))
        raise
    if stops:
        stop_all(stops, run, into / run)


def _report(host: RunHost, run: str, ended: Ended) -> None:
    """Print that a run finished; raises SdfleetError if it did not."""
    if ended.state == "failed":
        raise SdfleetError(
            f"{run} failed on {host.name}: {ended.reason or 'no reason given'}; see: sdfleet logs {host.name} {run}"
        )
    if ended.state == "stopped":
        raise SdfleetError(
            f"{run} was stopped at step {ended.progress.step} of {ended.progress.steps}; "
            f"to continue from its last checkpoint: sdfleet train resume {run}"
        )
    out.print(f"{run} finished: {ended.progress.line()}")


def bring(host: RunHost, run: str, into: Path) -> None:
    """Fetch a run's files into a folder below `into` and write its report."""
    files = host.fetch(run, into / run)
    for file in files:
        if file.suffix == ".safetensors":
            out.print(f"Fetched {file} ({file.stat().st_size / 1e6:.1f} MB, sha256 checked)")
    try:
        out.print(f"Report: {write_report(into / run)}")
    except SdfleetError as error:
        # It ended before it had a record, or an older trainer made it: its files are fetched all the same.
        err.print(str(error))
    out.print(f"Next: sdfleet train publish {run}")
