"""Start, stop or restart a service and wait until it listens. Runs on the host; see the package's docstring."""

from __future__ import annotations

import subprocess
import time
from typing import Any

from roles.onhost import journal

LOOK_SECONDS = 0.2
UP = ("active", "activating", "reloading")


def main(verb: str, unit: str, ports: list[int], seconds: float) -> dict[str, Any]:
    """Do `verb` (start, stop or restart).

    `outcome` is ready, unchanged (nothing to do), stopped, missing (no such unit), failed (see `reason`) or silent (it
    runs, but nothing listens on the ports in `silent` after `seconds`).
    """
    if _show(unit, "LoadState") != "loaded":
        return {"outcome": "missing"}
    active = _show(unit, "ActiveState")
    if verb == "stop":
        systemctl("stop", unit)
        return {"outcome": "stopped" if active in UP else "unchanged"}
    if verb == "start" and active == "active" and not silent(ports):
        return {"outcome": "unchanged"}
    began = time.time()
    systemctl("reset-failed", unit)
    # Returns when a Type=notify unit is ready, and when another unit was started.
    if not systemctl(verb, unit):
        return {"outcome": "failed", "reason": journal.last_words(unit, began)}
    deadline = time.monotonic() + seconds
    while quiet := silent(ports):
        if _show(unit, "ActiveState") not in UP:
            return {"outcome": "failed", "reason": journal.last_words(unit, began)}
        if time.monotonic() >= deadline:
            return {"outcome": "silent", "silent": quiet}
        time.sleep(LOOK_SECONDS)
    return {"outcome": "ready"}


def silent(ports: list[int]) -> list[int]:
    """The TCP ports on which nothing listens."""
    return [port for port in ports if not _output("ss", "-Hltn", f"sport = :{port}").strip()]


def systemctl(*words: str) -> bool:
    """Run systemctl; whether it succeeded."""
    done = subprocess.run(["systemctl", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return done.returncode == 0


def _show(unit: str, name: str) -> str:
    return _output("systemctl", "show", unit, f"--property={name}", "--value").strip()


def _output(*command: str) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.decode(errors="replace")
