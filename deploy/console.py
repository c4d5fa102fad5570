"""What a person sees of a run: a live line a host, a table at the end, the next command."""

import logging
import time
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from deploy.events import Event, Finished, HostResult, Log, Phase, Planned, Started

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

STYLES = {"ok": "green", "failed": "bold red", "unreachable": "bold red", "stopped": "yellow"}


@dataclass
class _HostLine:
    """What one host is doing right now."""

    doing: str = "waiting"
    done: int = 0
    total: int = 0
    spinner: Spinner = field(default_factory=lambda: Spinner("dots"))

    def render(self, name: str) -> RenderableType:
        count = f"{self.done}/{self.total} " if self.total else ""
        row = Table.grid(padding=(0, 1))
        row.add_row(self.spinner, Text(name, style="bold"), Text(f"{count}{self.doing}", overflow="ellipsis"))
        return row


class RunView:
    """Shows the events of one engine run; as live lines on a terminal, as plain lines elsewhere."""

    def __init__(self, hosts: tuple[str, ...], apply: bool, verbose: bool = False) -> None:
        self.apply, self.verbose = apply, verbose
        self.began = time.monotonic()
        self.lines = {host: _HostLine() for host in hosts}
        self.results: dict[str, HostResult] = {}
        self.live = Live(console=out, refresh_per_second=8, transient=True, get_renderable=self._render)

    def __enter__(self) -> "RunView":
        if out.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def _render(self) -> RenderableType:
        return Group(*(line.render(name) for name, line in self.lines.items() if name not in self.results))

    def show(self, event: Event) -> None:
        """Take one event."""
        match event:
            case Phase():
                line = self.lines[event.host]
                line.doing, line.total = event.phase, event.operations
            case Planned() if event.change:
                out.print(f"[bold]{event.host}[/] [yellow]would[/] {escape(event.operation)}")
            case Started():
                self.lines[event.host].doing = event.operation
            case Finished():
                self.lines[event.host].done += 1
                self._finished(event)
            case Log():
                self._log(event)
            case HostResult():
                self.results[event.host] = event
                if event.error:
                    out.print(f"[bold]{event.host}[/] [bold red]{event.status}[/]: {escape(event.error)}")

    def _finished(self, event: Finished) -> None:
        if event.result == "changed" or self.verbose:
            style = {"changed": "green", "unchanged": "dim", "failed": "bold red"}[event.result]
            out.print(
                f"[bold]{event.host}[/] [{style}]{event.result}[/] {escape(event.operation)} "
                f"[dim]{event.seconds:.1f} s[/]"
            )

    def _log(self, event: Log) -> None:
        if self.verbose or event.level >= logging.WARNING or (event.level == logging.INFO and self._worth(event)):
            name = f"[bold]{event.host}[/] " if event.host else ""
            out.print(f"{name}[dim]{escape(event.text)}[/]")

    @staticmethod
    def _worth(event: Log) -> bool:
        noise = ("Connected", "Success", "No changes", "noop:", "--> ")
        return not event.text.startswith(noise)

    def table(self) -> Table:
        """The result of every host."""
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        columns = ["host", "result", "changed" if self.apply else "to change", "unchanged", "seconds"]
        for column in [*columns, "round trips"] if self.verbose else columns:
            table.add_column(column, justify="left" if column in ("host", "result") else "right")
        for name in self.lines:
            found = self.results.get(name)
            if found is None:
                table.add_row(name, "[bold red]no answer[/]", "", "", "")
                continue
            status = f"[{STYLES[found.status]}]{found.status}[/]"
            cells = [name, status, str(found.changed), str(found.unchanged), f"{found.seconds:.1f}"]
            table.add_row(*cells, *([str(found.round_trips)] if self.verbose else []))
        return table

    @property
    def failed(self) -> int:
        """How many hosts did not end well."""
        return sum(name not in self.results or self.results[name].status != "ok" for name in self.lines)

    @property
    def changed(self) -> int:
        """Changes over all hosts."""
        return sum(result.changed for result in self.results.values())

    def finish(self, next_command: str) -> None:
        """Print the table, the time, and what to type next."""
        out.print(self.table())
        verb = "Applied" if self.apply else "Planned"
        if self.failed:
            next_command = "Mend what is said above and run the same command again: it goes on from here."
        out.print(f"{verb} {len(self.lines)} host(s) in {time.monotonic() - self.began:.1f} s. {escape(next_command)}")
