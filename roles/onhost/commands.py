"""What commands print."""

from __future__ import annotations

import subprocess

SECONDS = 30
"""How long a command may take."""


def answer(*command: str, seconds: float | None = None) -> str:
    """Standard output of a command; empty if there is no such program.

    Raises TimeoutError after `seconds`, or SECONDS if they are not given.
    """
    limit = SECONDS if seconds is None else seconds
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=limit, check=False)
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(f"{command[0]} did not answer within {limit} s") from error
    except OSError:
        return ""
    return done.stdout.decode(errors="replace")


def checked(*command: str) -> str:
    """Standard output of a command that succeeds. Raises OSError (TimeoutError after SECONDS)."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(f"{command[0]} did not answer within {SECONDS} s") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise OSError(
            f"{command[0]} failed with status {done.returncode}: {said[-1] if said else 'it printed nothing'}"
        )
    return done.stdout.decode(errors="replace")


def output(*command: str, seconds: float | None = None) -> str:
    """The same, but empty if it takes too long: where that means no more than no answer."""
    try:
        return answer(*command, seconds=seconds)
    except TimeoutError:
        return ""
