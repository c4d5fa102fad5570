"""All terminal output. Text from elsewhere can neither add colour nor send control characters.

Strings are shown as they are, brackets included. Colours come only from the constant templates of `styled`.
"""

import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, LiteralString

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.live import Live
from rich.measure import Measurement
from rich.segment import Segment
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from deploy.events import Event, Finished, HostResult, Log, Phase, Planned, Started
from training.terminal import visible, visible_line

HOLE = "{}"
QUIET_SECONDS = 10.0
"""After this long without output, a line says what is waited for."""

STYLES = {"ok": "green", "failed": "bold red", "unreachable": "bold red", "stopped": "yellow"}


class Terminal(Console):
    """A console that reads no markup in strings, and shows control characters instead of sending them."""

    printed = 0.0
    """Time of the last output (time.monotonic)."""

    def print(self, *objects: Any, **options: Any) -> None:
        """As rich's, but lines of text are never wrapped: a path or a command that is cut cannot be copied."""
        if all(isinstance(each, str | Text) for each in objects):
            options.setdefault("soft_wrap", True)
        super().print(*objects, **options)
        self.printed = time.monotonic()  # for `waiting`

    def render_str(self, text: str, **options: Any) -> Text:
        """Plain text; markup and emoji codes are shown as they are written."""
        options |= {"markup": False, "emoji": False, "highlight": False}
        return super().render_str(visible(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """All output passes here, tables and live lines too."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))


out = Terminal(highlight=False)
err = Terminal(stderr=True, highlight=False)


def styled(template: LiteralString, *values: object) -> Text:
    """
    A coloured line.

    + template: rich markup, with {} for each value
    + values: shown on one line as they are; a Text keeps its own colours
    """
    parsed, waiting, line = Text.from_markup(template, emoji=False), iter(values), Text()
    for piece in parsed.split(HOLE, include_separator=True, allow_blank=True):
        if not piece.plain.endswith(HOLE):
            line.append_text(piece)
            continue
        line.append_text(piece[: -len(HOLE)])
        value = next(waiting)
        shown = value.copy() if isinstance(value, Text) else Text(visible_line(str(value)))
        for span in piece.spans:
            if span.end == len(piece):
                shown.stylize(span.style)
        line.append_text(shown)
    return line


GAP = "  "
"""Between two cells of one line."""
WIDE = 10_000
"""A width that every table fits in."""


def print_table(table: Table) -> None:
    """Print a table if it fits the terminal; otherwise print each row as a few lines of titles and cells.

    No cell is cut, and none is broken over two lines unless it is wider than the terminal; empty ones ("-") are left
    out. Column titles and cells are strings or Text.
    """
    wanted = Measurement.get(out, out.options.update(width=WIDE, max_width=WIDE), table).maximum
    if wanted <= out.width or not table.rows:
        out.print(table)
        return
    titles = [str(column.header) for column in table.columns]
    for cells in zip(*(column.cells for column in table.columns), strict=True):
        first, *others = (cell if isinstance(cell, Text) else str(cell) for cell in cells)
        line = styled("[bold]{}[/]", first)
        for title, cell in zip(titles[1:], others, strict=True):
            if str(cell) in ("", "-"):
                continue
            pair = styled("[dim]{}[/] {}", title, cell)
            if line.cell_len + len(GAP) + pair.cell_len <= out.width:
                line.append(GAP).append_text(pair)
            else:
                out.print(line)
                line = Text(GAP).append_text(pair)
        out.print(line)


@contextmanager
def waiting(what: str | Callable[[], str]) -> Iterator[None]:
    """Show what is waited for: a live line on a terminal, else a line after every `QUIET_SECONDS` without output.

    + what: text after "Still waiting: "; a function if it changes (a terminal then has its own view)
    """
    if out.is_terminal and isinstance(what, str):
        with out.status(Text(what)):
            yield
        return
    over = threading.Event()
    out.printed = began = time.monotonic()

    def speak() -> None:
        while not over.wait(min(1, QUIET_SECONDS / 2)):
            now = time.monotonic()
            if now - out.printed >= QUIET_SECONDS:
                told = f"{what}, {now - began:.0f} s" if isinstance(what, str) else what()
                out.print(styled("[dim]Still waiting: {}[/]", told))

    speaker = threading.Thread(target=speak, daemon=True)
    speaker.start()
    try:
        yield
    finally:
        over.set()
        speaker.join()


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


class RunView:
    """Shows the events of one engine run: as live lines on a terminal, else as plain lines."""

    def __init__(self, hosts: tuple[str, ...], apply: bool, verbose: bool = False) -> None:
        self.apply, self.verbose = apply, verbose
        self.began = time.monotonic()
        self.lines = {host: _HostLine() for host in hosts}
        self.results: dict[str, HostResult] = {}
        self.told: dict[str, str] = {}
        """The last log line of each host that was shown."""
        self.shown = ExitStack()

    def __enter__(self) -> "RunView":
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
                    # Mostly its end stands in the line above already.
                    error = event.error.removesuffix(f": {self.told.get(event.host)}")
                    told = styled("[bold]{}[/] [bold red]{}[/]: {}", event.host, event.status, error)
                    out.print(told)

    def _finished(self, event: Finished) -> None:
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
        for name in self.lines:
            found = self.results.get(name)
            if found is None:
                table.add_row(name, Text("no answer", "bold red"), "", "", "")
                continue
            cells = [str(found.changed), str(found.unchanged), f"{found.seconds:.1f}", str(found.round_trips)]
            table.add_row(name, Text(found.status, STYLES[found.status]), *(cells if self.verbose else cells[:3]))
        return table

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
