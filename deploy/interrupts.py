"""SIGTERM and SIGHUP end a command as Ctrl-C does: what it started is ended, and its folders are removed."""

import contextlib
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

INTERRUPTED = 128 + signal.SIGINT
"""Exit code of what Ctrl-C has ended."""
REPEATED_SECONDS = 1.0
"""A second signal within this time is the same request: a closed terminal sends SIGHUP more than once."""
END_SECONDS = 60.0
"""How long a program may take to end when it was asked to; a demo's `train run` closes connections first."""


@dataclass
class _Asked:
    """The signal that asked this process to end."""

    number: int = 0
    when: float = 0.0


_ASKED = _Asked()


def listen() -> None:
    """Raise KeyboardInterrupt on SIGTERM and SIGHUP; one that is ignored (nohup) stays so."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)


def asked() -> bool:
    """Whether one of these signals came."""
    return bool(_ASKED.number)


def exit_code() -> int:
    """128 and the signal's number. This process is to end now: a repeated signal does not change the code."""
    if asked():
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
    return 128 + _ASKED.number if _ASKED.number else INTERRUPTED


def run(command: Sequence[str], folder: Path | None = None, environment: Mapping[str, str] | None = None) -> int:
    """Run a program with this terminal, and return its exit status; an interrupt lets it end by itself.

    + folder: its working directory, if another than this one
    + environment: its environment, if another than this one
    """
    with subprocess.Popen(command, cwd=folder, env=environment) as process:
        try:
            return process.wait()
        except BaseException:
            if asked():  # Ctrl-C reaches it from the terminal
                process.terminate()
                process.send_signal(signal.SIGHUP)  # an interactive shell ignores SIGTERM, what nohup starts this one
            try:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(END_SECONDS)
            finally:  # also after a second interrupt
                process.kill()
                process.wait()
            raise


def _interrupt(number: int, _frame: FrameType | None) -> None:
    now = time.monotonic()
    if asked() and now - _ASKED.when < REPEATED_SECONDS:
        return
    _ASKED.number, _ASKED.when = number, now
    # Not a class of its own: subprocess waits for a child without end unless it is exactly this one.
    raise KeyboardInterrupt
