"""Progress and results of an engine run: live lines on a terminal, otherwise plain lines."""

import logging
import re
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from rich.console import Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from deploy.console import out, print_table, styled, waiting
from deploy.documents import Failure
from deploy.engine.events import Event, Finished, HostResult, Log, Phase, Planned, Started
from deploy.failures import AGAIN
from deploy.shapes import HostChanges, Operation

STYLES = {
    "ok": "green",
    "failed": "bold red",
    "unreachable": "bold red",
    "stopped": "yellow",
    "no answer": "bold red",
}

BROKE_OFF = "stopped because another host failed"


@dataclass
class _HostLine:
    """The live line of one host."""

    doing: str = "waiting"
    since: float = field(default_factory=time.monotonic)
    done: int = 0
    total: int = 0
    spinner: Spinner = field(default_factory=lambda: Spinner("dots"))

    def turn_to(self, doing: str) -> None:
        self.doing, self.since = doing, time.monotonic()

    def render(self, name: str) -> RenderableType:
        count = f"{self.done}/{self.total} " if self.total else ""
        row = Table.grid(padding=(0, 1))
        row.add_row(self.spinner, Text(name, style="bold"), Text(f"{count}{self.doing}", overflow="ellipsis"))
        return row


class EngineView:
    def __init__(self, hosts: tuple[str, ...], apply: bool, verbose: bool = False) -> None:
        self.apply, self.verbose = apply, verbose
        self.began = time.monotonic()
        self.lines = {host: _HostLine() for host in hosts}
        self.results: dict[str, HostResult] = {}
        self.operations: dict[str, list[Operation]] = {host: [] for host in hosts}
        """What each host's operations change, or changed, or failed at."""
        self.told: dict[str, str] = {}
        """The last log line of each host that was shown."""
        self.shown = ExitStack()

    def __enter__(self) -> "EngineView":
        if out.is_terminal:
            live = Live(console=out, refresh_per_second=8, transient=True, get_renderable=self._render)
            self.shown.enter_context(live)
        else:
            self.shown.enter_context(waiting(self._waits))
        return self

    def __exit__(self, *_: object) -> None:
        self.shown.close()

    def _waits(self) -> str:
        now = time.monotonic()
        left = [(name, line) for name, line in self.lines.items() if name not in self.results]
        return (
            "; ".join(f"{name}: {line.doing}, {now - line.since:.0f} s" for name, line in left)
            or "the connections to close"
        )

    def _render(self) -> RenderableType:
        return Group(*(line.render(name) for name, line in self.lines.items() if name not in self.results))

    def show(self, event: Event) -> None:
        match event:
            case Phase():
                line = self.lines[event.host]
                line.turn_to(event.phase)
                line.total = event.operations
            case Planned() if event.change:
                if not self.apply:
                    self.operations[event.host].append(Operation(event.operation, "would change"))
                out.print(styled("[bold]{}[/] [yellow]would[/] {}", event.host, event.operation))
            case Started():
                self.lines[event.host].turn_to(event.operation)
            case Finished():
                self.lines[event.host].done += 1
                self._finished(event)
            case Log():
                self._log(event)
            case HostResult():
                self.results[event.host] = event
                if event.error:
                    # The line above often has the same reason.
                    error = event.error.removesuffix(f": {self.told.get(event.host)}")
                    told = styled("[bold]{}[/] [bold red]{}[/]: {}", event.host, event.status, error)
                    out.print(told)

    def _finished(self, event: Finished) -> None:
        if event.result != "unchanged":
            self.operations[event.host].append(Operation(event.operation, event.result, event.seconds))
        if event.result == "changed" or self.verbose:
            style = {"changed": "green", "unchanged": "dim", "failed": "bold red"}[event.result]
            result, took = Text(event.result, style), f"{event.seconds:.1f} s"
            out.print(styled("[bold]{}[/] {} {} [dim]{}[/]", event.host, result, event.operation, took))

    def _log(self, event: Log) -> None:
        if self.verbose or event.level >= logging.WARNING or (event.level == logging.INFO and self._worth(event)):
            # A traceback has several lines.
            for line in event.text.split("\n"):
                told = styled("[bold]{}[/] [dim]{}[/]", event.host, line) if event.host else Text(line, "dim")
                out.print(told)
                self.told[event.host] = line

    @staticmethod
    def _worth(event: Log) -> bool:
        noise = ("Connected", "Success", "No changes", "noop:", "--> ")
        # pyinfra's messages while it connects begin with the host's name.
        return not re.sub(r"^\[[^]]*\] ", "", event.text).startswith(noise)

    def table(self) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        columns = ["host", "result", "changed" if self.apply else "to change", "unchanged", "seconds"]
        for column in [*columns, "round trips"] if self.verbose else columns:
            table.add_column(column, justify="left" if column in ("host", "result") else "right")
        for name, found in self.changes().items():
            counts = ["-" if count is None else str(count) for count in (found.changed, found.unchanged)]
            cells = [*counts, f"{found.seconds:.1f}", str(found.round_trips)]
            if found.status == "no answer":
                cells = [""] * len(cells)
            table.add_row(name, Text(found.status, STYLES[found.status]), *(cells if self.verbose else cells[:3]))
        return table

    def changes(self) -> dict[str, HostChanges]:
        """What the run came to on each host."""
        return {name: self._changes(name) for name in self.lines}

    def _changes(self, name: str) -> HostChanges:
        found = self.results.get(name)
        if found is None:
            return HostChanges()
        known = self.apply or found.status == "ok"  # a plan that failed knows nothing of what is to change
        return HostChanges(
            error=None if found.status == "ok" else Failure(found.error or BROKE_OFF, name, AGAIN),
            status=found.status,
            changed=found.changed if known else None,
            unchanged=found.unchanged if known else None,
            seconds=found.seconds,
            round_trips=found.round_trips,
            operations=tuple(self.operations[name]),
        )

    @property
    def failed(self) -> int:
        """Number of hosts whose result is not ok."""
        return sum(name not in self.results or self.results[name].status != "ok" for name in self.lines)

    @property
    def changed(self) -> int:
        return sum(result.changed for result in self.results.values())

    def finish(self, next_command: str) -> None:
        """Print the table, the time, and the next command."""
        print_table(self.table())
        verb = "Applied" if self.apply else "Planned"
        if self.failed:
            next_command = "Fix the errors above, then run the same command again to continue."
        done = sum(result.status == "ok" for result in self.results.values())
        hosts = f"{len(self.lines)} host(s)" if done == len(self.lines) else f"{done} of {len(self.lines)} host(s)"
        told = f"{verb} {hosts} in {time.monotonic() - self.began:.1f} s. {next_command}"
        out.print(told)


def together(views: Sequence[EngineView]) -> dict[str, HostChanges]:
    """What several runs, one after the other, came to on each host."""
    found: dict[str, HostChanges] = {}
    for name, now in (item for view in views for item in view.changes().items()):
        before = found.get(name)
        found[name] = now if before is None else _after(before, now)
    return found


def _after(before: HostChanges, now: HostChanges) -> HostChanges:
    return replace(
        now,
        changed=None if now.changed is None else now.changed + (before.changed or 0),
        seconds=before.seconds + now.seconds,
        round_trips=before.round_trips + now.round_trips,
        operations=before.operations + now.operations,
    )
