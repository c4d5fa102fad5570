"""What commands print."""

from __future__ import annotations

import subprocess


def output(*command: str) -> str:
    """Standard output of a command; empty if there is no such program, or it takes longer than 30 s."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace")
