"""Stopping on request: SIGTERM and Ctrl-C set a flag, which the recipe checks at safe points."""

import signal
from types import FrameType


class Interrupted(Exception):
    """The run was asked to stop and has stopped at a safe point."""


class Stop:
    """Whether a stop was requested. A second signal ends the process."""

    def __init__(self) -> None:
        self.asked = False

    def listen(self) -> None:
        """Handle SIGTERM and SIGINT."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def check(self) -> None:
        """Raise Interrupted if a stop was requested."""
        if self.asked:
            raise Interrupted

    def _ask(self, number: int, _: FrameType | None) -> None:
        self.asked = True
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler)
