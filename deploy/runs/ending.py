"""What a person sees between the start of a run and its files here."""

from pathlib import Path

import typer

from deploy.console import err, out
from deploy.runs.follow import Ended
from deploy.runs.follow import follow as watch
from deploy.runs.report import write as write_report
from deploy.runs.transfer import RunHost, Sent
from inventory.errors import SdfleetError


def sent(run: str, host: str) -> Sent:
    """Tells how much of a run travels."""
    return lambda new, of: out.print(f"Sending {run} to {host}: {new} of {of} file(s) are new")


def follow_and_fetch(host: RunHost, run: str, into: Path) -> None:
    """Watch a run to its end, say how it ended, and bring its files. Raises SdfleetError unless it finished."""
    out.print(f"Following {run} on {host.name}; Ctrl-C leaves it running there")
    try:
        ended = watch(host, run)
    except KeyboardInterrupt:
        out.print(f"The run continues; to follow it again: sdfleet train follow {run}")
        raise typer.Exit(130) from None
    _report(host, run, ended)
    bring(host, run, into)


def _report(host: RunHost, run: str, ended: Ended) -> None:
    """Say how a run ended; SdfleetError unless it finished."""
    if ended.state == "failed":
        raise SdfleetError(
            f"{run} failed on {host.name}: {ended.reason or 'it gave no reason'}; see `sdfleet logs {host.name} {run}`"
        )
    if ended.state == "stopped":
        raise SdfleetError(
            f"{run} was stopped at step {ended.progress.step} of {ended.progress.steps}; "
            f"`sdfleet train resume {run}` goes on from its last checkpoint"
        )
    out.print(f"{run} finished: {ended.progress.line()}", soft_wrap=True)


def bring(host: RunHost, run: str, into: Path) -> None:
    """Bring a run's files below `into` and write its report."""
    files = host.fetch(run, into / run)
    for file in files:
        if file.suffix == ".safetensors":
            out.print(f"Fetched {file} ({file.stat().st_size / 1e6:.1f} MB, sha256 checked)")
    try:
        out.print(f"Report: {write_report(into / run)}")
    except SdfleetError as error:
        # A run that ended before it had a record, or one of an older trainer: its files are here all the same.
        err.print(str(error), soft_wrap=True)
    out.print(f"Next: sdfleet train publish {run}")
