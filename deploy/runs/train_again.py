"""`sdfleet train reproduce` and `sweep`: runs made from another run, or from variations of one config."""

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from deploy.connection.several import connect
from deploy.connection.ssh import Remote
from deploy.console import err, out, print_table, styled
from deploy.engine.client import run as apply
from deploy.engine.events import Request
from deploy.options import checked_name
from deploy.runs.follow import follow as watch
from deploy.runs.names import LONGEST, run_name
from deploy.runs.outcome import follow_and_fetch, sent
from deploy.runs.placement import choose, run_host, runs_of, trainers
from deploy.runs.provenance import KEY, NoTrainerError, bring, release_named
from deploy.runs.reproduce import changed as changed_inputs
from deploy.runs.reproduce import judge, lacks_trainer, record_of
from deploy.runs.reproduce import send as send_again
from deploy.runs.submission import prepare, read
from deploy.runs.sweep import compare, points
from deploy.runs.transfer import RunHost
from inventory.errors import DRIFT, SdfleetError
from inventory.load import load


def reproduce(run: str, fleet: Path, on: str | None, anyway: bool, into: Path) -> None:
    suffix = f"-again-{time.strftime('%Y%m%d-%H%M%S')}"
    again = f"{run[: LONGEST - len(suffix)]}{suffix}"
    with run_host(fleet, run) as origin, connect(trainers(fleet, [on or origin.name])) as remotes:
        origin.fetch(run, into / run)
        record = record_of(into / run)
        changed = changed_inputs(origin, run, record)
        for sentence in changed:
            out.print(styled("[yellow]differs[/] {}", sentence))
        if changed and not anyway:
            err.print("Not trained: the result would differ. To train anyway, use --anyway.")
            raise typer.Exit(DRIFT)
        target = RunHost(next(iter(remotes.values())))
        build_trainer(fleet, target, origin, release_named(record))
        send_again(origin, run, record, target, again, sent(again, target.name))
        out.print(f"Starting {again} on {target.name}")
        target.start(again)
        follow_and_fetch(target, again, into)
    differences, verdict = judge(into / run, into / again)
    for sentence in differences:
        out.print(styled("[yellow]differs[/] {}", sentence))
    out.print(f"{run} and {again}: {verdict.sentence()}")
    raise typer.Exit(0 if verdict.holds else DRIFT)


def build_for_checkpoint(fleet: Path, host: RunHost, run: str) -> dict[str, str]:
    """Build the trainer that wrote the run's checkpoint, if it was removed meanwhile: others may refuse it.

    Returns what the run's turn.json must say: which trainer is lost, if the host has no copy of it either.
    Raises SdfleetError if it could not be built.
    """
    if not KEY.fullmatch(release := host.began(run)):
        return {}
    try:
        build_trainer(fleet, host, host, release)
    except NoTrainerError as error:
        sentence = f"{run} goes on with the present trainer, which refuses the checkpoint if its settings are others"
        err.print(styled("[bold yellow]warning[/] {}. {}", error, sentence))
        return {"lost_trainer": release}
    return {}


def build_trainer(fleet: Path, target: RunHost, origin: RunHost, release: str) -> None:
    """Build a trainer of `origin` on `target`, unless it is there. Raises SdfleetError if that fails."""
    if not lacks_trainer(target, release):
        return
    host = target.name
    kept = "the" if origin is target else f"{origin.name}'s"
    with tempfile.TemporaryDirectory() as folder:
        bring(origin, release, Path(folder))
        out.print(f"{host} does not have the trainer {release}: building it from {kept} copy of its code and lock")
        request = Request(fleet=str(fleet), hosts=(host,), roles=("trainer",), apply=True, trainer_of=folder)
        if apply(load(fleet), request, f"Building the trainer {release}.", verbose=False).failed:
            raise SdfleetError(f"{host}: the trainer {release} could not be built")


def sweep(config: Path, grid: list[str], fleet: Path, on: list[str] | None, name: str | None, into: Path) -> None:
    raw = read(config, ())
    sweep_name = checked_name("--name", name) if name else run_name(str(raw.get("name", config.stem)))
    found = points(sweep_name, grid)
    hosts = trainers(fleet, on)
    called = {"name": name or raw.get("name", config.stem)}
    tables = {point.run: read(config, point.overrides) | called for point in found}
    for point in found:
        for candidate in hosts:
            prepare(tables[point.run], config, point.run, candidate)
    with connect(hosts) as remotes:
        failed = _train_all(tables, config, remotes, into)
    file = into / f"{sweep_name}-sweep.html"
    titles, rows = compare(found, grid, into, file)
    table = Table(*titles, box=None, padding=(0, 2, 0, 0), header_style="bold")
    for row in rows:
        table.add_row(*row)
    print_table(table)
    out.print(f"Pictures and curves: {file}")
    if failed:
        raise SdfleetError(
            f"{', '.join(failed)} did not finish; resume with sdfleet train resume, then run the sweep again"
        )


def _train_all(
    tables: Mapping[str, Mapping[str, Any]], config: Path, remotes: dict[str, Remote], into: Path
) -> list[str]:
    """Start the runs that no host has yet, wait for all and fetch them. Returns those that did not finish.

    + tables: by run, its config, from the file `config`
    """
    placed = {run["name"]: at for at, runs in runs_of(remotes).items() for run in runs}
    for run in tables:
        if run not in placed:
            placed[run] = _start_somewhere(run, tables[run], config, remotes)
    failed = []
    for run in tables:
        host = RunHost(remotes[placed[run]])
        ended = watch(host, run)
        host.fetch(run, into / run)
        out.print(f"{run} on {host.name}: {ended.state}, {ended.progress.line()}")
        failed += [run] if ended.state != "finished" else []
    return failed


def _start_somewhere(run: str, tables: Mapping[str, Any], config: Path, remotes: dict[str, Remote]) -> str:
    """Start a run on the host that begins it first. Returns its name.

    + tables: the run's config, from the file `config`
    """
    wanted = prepare(tables, config, run, next(iter(remotes.values())).host).turn
    host = RunHost(choose(remotes, wanted))
    host.send(run, prepare(tables, config, run, host.remote.host), sent(run, host.name))
    out.print(f"Starting {run} on {host.name}")
    host.start(run)
    return host.name
