"""Stopping on request: SIGTERM and Ctrl-C ask, the recipe answers at the next safe point."""

import signal
from types import FrameType


class Interrupted(Exception):
    """The run was asked to stop, and has stopped at a safe point."""


class Stop:
    """Remembers that a stop was asked for. A second signal ends the process as usual."""

    def __init__(self) -> None:
        self.asked = False

    def listen(self) -> None:
        """Take over SIGTERM and SIGINT."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def check(self) -> None:
        """Raise Interrupted if a stop was asked for."""
        if self.asked:
            raise Interrupted

    def _ask(self, number: int, _: FrameType | None) -> None:
        self.asked = True
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler)
