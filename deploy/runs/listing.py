"""`sdfleet train list`: the runs on the hosts."""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from deploy.connection.several import connect, each
from deploy.connection.ssh import HostError
from deploy.console import out, print_table, waiting
from deploy.documents import Document
from deploy.failures import lost
from deploy.runs.placement import reached
from deploy.runs.progress import Progress, duration
from deploy.runs.transfer import RunHost
from deploy.shapes import HostRuns, Run, RunProgress
from inventory.errors import OK
from inventory.model import HostSettings


def run(hosts: Sequence[HostSettings], as_json: bool = False) -> int:
    """Print a table of the runs on `hosts`, or JSON. Returns 0. Raises HostError if no host can be reached."""
    began = time.monotonic()
    with connect(hosts) as remotes, waiting(f"the runs of {len(hosts)} host(s)"):
        answers = each(remotes, lambda remote: [described(facts) for facts in RunHost(remote).runs()])
    found = reached(answers)
    if as_json:
        told = {n: lost(n, a) if isinstance(a, HostError) else HostRuns(runs=_in_order(a)) for n, a in answers.items()}
        Document(command="train list", exit_code=OK, seconds=time.monotonic() - began, hosts=told).write()
    elif any(found.values()):
        print_table(_table([(host, run) for host, runs in found.items() for run in runs]))
        if going := [run.name for runs in found.values() for run in runs if run.state == "running"]:
            out.print(f"Next: sdfleet train follow {going[-1]}")
    else:
        out.print("No runs yet. Next: sdfleet train run CONFIG")
    return OK


def described(facts: Mapping[str, Any]) -> Run:
    """A run of RunHost.runs()."""
    progress = Progress()
    progress.feed(json.dumps(facts["last"]))
    return Run(
        name=facts["name"],
        state=facts["state"],
        reason=facts["reason"],
        made=float(facts["made"]),
        gpus=tuple(facts["gpus"]),
        rank=(facts["nodes"] or {}).get("rank"),
        progress=far(progress),
    )


def far(progress: Progress) -> RunProgress:
    """How far a run is."""
    loss = progress.loss if progress.loss_smooth is None else progress.loss_smooth
    return RunProgress(
        step=progress.step,
        steps=progress.steps,
        epoch=progress.epoch,
        loss=loss,
        it_per_s=progress.it_per_s,
        eta_s=progress.eta_s,
        memory_mb=progress.memory_mb,
        line=progress.line(),
    )


def _in_order(runs: Iterable[Run]) -> tuple[Run, ...]:
    return tuple(sorted(runs, key=lambda run: run.made))


def _table(found: Sequence[tuple[str, Run]]) -> Table:
    table = Table("run", "host", "state", "made", "progress", box=None, padding=(0, 2, 0, 0), header_style="bold")
    styles = {"running": "cyan", "finished": "green", "failed": "bold red"}
    for host, run in sorted(found, key=lambda pair: pair[1].made):
        made = f"{duration(time.time() - run.made)} ago"
        state = Text(run.state, styles.get(run.state, "yellow"))
        table.add_row(run.name, host, state, made, run.reason or run.progress.line)
    return table
