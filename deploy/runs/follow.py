"""Follow a run until it ends. A lost connection or Ctrl-C here does not affect the run."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from rich.live import Live
from rich.text import Text

from deploy.connection.ssh import HostError
from deploy.console import err, out, styled
from deploy.runs.progress import Progress

POLL_SECONDS = 1.0
RETRY_SECONDS = 3.0
PLAIN_SECONDS = 10.0
"""How often to print a line without a terminal."""
GRACE_SECONDS = 30.0
"""How long after a lost connection a stopped or failed run does not count as ended: its host may have rebooted, and
starts it again."""


@dataclass(frozen=True)
class Ended:
    """How a run ended: finished, failed or stopped, the reason, and its last progress."""

    state: str
    reason: str
    progress: Progress


class Readable(Protocol):
    """The part of RunHost that `follow` needs."""

    def read(self, run: str, offset: int) -> dict[str, Any]:
        """The run's log from byte `offset` on, and its state."""


def follow(host: Readable, run: str, *, sleep: Callable[[float], None] = time.sleep) -> Ended:
    """Show the run's progress until it ends.

    Raises HostError if the host has no such run. Retries while the host cannot be reached.
    """
    progress, offset, state, lost = Progress(), 0, "waiting", ""
    printed = patient_until = time.monotonic()
    last = ""

    def line() -> Text:
        return styled("[bold]{}[/] {}  {}  [yellow]{}[/]", run, state, progress.line(), lost)

    with Live(console=out, get_renderable=line, transient=True, refresh_per_second=4):
        while True:
            try:
                seen = host.read(run, offset)
            except HostError as error:
                if not error.unreachable:
                    raise
                if not lost:
                    err.print(f"{error}\nThe run continues; trying again ...")
                lost = "no connection"
                sleep(RETRY_SECONDS)
                continue
            if lost:
                patient_until = time.monotonic() + GRACE_SECONDS
            lost, offset, state = "", seen["offset"], seen["state"]
            progress.feed(seen["text"])
            if state == "finished" or (state in ("failed", "stopped") and time.monotonic() >= patient_until):
                return Ended(state, seen["reason"], progress)
            if not out.is_terminal and time.monotonic() - printed >= PLAIN_SECONDS and progress.line() != last:
                printed, last = time.monotonic(), progress.line()
                out.print(line())
            sleep(POLL_SECONDS)
