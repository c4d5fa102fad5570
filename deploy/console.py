"""All terminal output. Text from elsewhere can neither add colour nor send control characters.

Strings are shown as they are, brackets included. Colours come only from the constant templates of `styled`.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, LiteralString

from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from training.terminal import visible, visible_line

HOLE = "{}"
QUIET_SECONDS = 10.0
"""After this long without output, a line says what is waited for."""


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


HUES = ("cyan", "magenta", "green", "yellow", "blue")


def prefixes(names: Collection[str]) -> dict[str, Text]:
    """What stands before each line of a host where lines of several come at once: its name, all as wide."""
    width = max(map(len, names), default=0)
    return {name: Text(f"{name:<{width}}", HUES[number % len(HUES)]) for number, name in enumerate(names)}


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
def waiting(what: str | Callable[[], str], *, aside: bool = False) -> Iterator[None]:
    """Show what is waited for: a live line on a terminal, else a line after every `QUIET_SECONDS` without output.

    + what: text after "Still waiting: "; a function if it changes (a terminal then has its own view)
    + aside: standard output is not ours: in a pipe the lines go to standard error

    Inside of another one it shows nothing: a terminal has one live line.
    """
    if not _WAITING.acquire(blocking=False):
        yield
        return
    try:
        to = err if aside and not out.is_terminal else out
        with to.status(Text(what)) if to.is_terminal and isinstance(what, str) else _told_now_and_then(what, to):
            yield
    finally:
        _WAITING.release()


_WAITING = threading.Lock()
"""Held while something is waited for."""


@contextmanager
def _told_now_and_then(what: str | Callable[[], str], to: Terminal) -> Iterator[None]:
    over = threading.Event()
    out.printed = began = time.monotonic()

    def speak() -> None:
        while not over.wait(min(1, QUIET_SECONDS / 2)):
            now = time.monotonic()
            if now - max(out.printed, err.printed) >= QUIET_SECONDS:
                told = f"{what}, {now - began:.0f} s" if isinstance(what, str) else what()
                to.print(styled("[dim]Still waiting: {}[/]", told))

    speaker = threading.Thread(target=speak, daemon=True)
    speaker.start()
    try:
        yield
    finally:
        over.set()
        speaker.join()
