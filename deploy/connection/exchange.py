"""A child process that may answer without end: what it says is bounded in bytes and time."""

import contextlib
import os
import selectors
import subprocess
import threading
import time
from collections.abc import Sequence
from typing import IO

LARGEST_COMPLAINT = 1_000_000
"""Bytes of standard error that are kept; the rest is read and dropped."""
BLOCK = 1 << 18
LAST_SECONDS = 1
"""How long the input is waited for when the process has ended; a child of it may keep the pipe open."""


LONGEST_SHOWN = 80


def short(command: str) -> str:
    """A command for an error: its beginning, on one line."""
    text = " ".join(command.replace("\\n", " ").split())
    return f"`{text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 3] + '...'}`"


class TooMuchError(Exception):
    """The process printed more than it may."""


def exchange(
    command: Sequence[str],
    input: bytes,
    timeout: float | None,
    most: int,
    into: IO[bytes] | None = None,
    running: "set[subprocess.Popen[bytes]] | None" = None,
) -> tuple[int, bytes, bytes]:
    """Exit status, output and standard error of a command.

    + timeout: in s
    + most: bytes of output that it may print
    + into: file for the output, instead of returning it
    + running: has the process while it runs, so that another thread can kill it
    Raises TooMuchError, subprocess.TimeoutExpired; the process is killed then.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    kept, complaint, seen = bytearray(), bytearray(), 0
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process,
        selectors.DefaultSelector() as ready,
    ):
        assert process.stdin and process.stdout and process.stderr
        feeding = threading.Thread(target=_feed, args=(process.stdin, input), daemon=True)
        process.stdin = None  # the thread alone closes it, as it may still hold bytes that nobody reads
        feeding.start()
        if running is not None:
            running.add(process)
        try:
            for stream in (process.stdout, process.stderr):
                ready.register(stream, selectors.EVENT_READ)
            while ready.get_map():
                for key, _ in ready.select(_left(command, timeout, deadline)):
                    block = os.read(key.fd, BLOCK)
                    if not block:
                        ready.unregister(key.fileobj)
                    elif key.fileobj is process.stderr:
                        complaint += block[: LARGEST_COMPLAINT - len(complaint)]
                    else:
                        seen += len(block)
                        if seen > most:
                            raise TooMuchError
                        if into:
                            into.write(block)
                        else:
                            kept += block
            status = process.wait(_left(command, timeout, deadline))
        except BaseException:
            process.kill()
            raise
        finally:
            if running is not None:
                running.discard(process)
            feeding.join(LAST_SECONDS)
    return status, bytes(kept), bytes(complaint)


def _left(command: Sequence[str], timeout: float | None, deadline: float | None) -> float | None:
    """Seconds that are left; None without a deadline."""
    if timeout is None or deadline is None:
        return None
    left = deadline - time.monotonic()
    if left <= 0:
        raise subprocess.TimeoutExpired(command, timeout)
    return left


def _feed(stream: IO[bytes], content: bytes) -> None:
    with contextlib.suppress(OSError), contextlib.closing(stream):  # the process may end without reading all of it
        stream.write(content)
