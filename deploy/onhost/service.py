"""Start, stop or restart a service and wait until it listens. Runs on the host; see the package's docstring."""

from __future__ import annotations

import time
from typing import Any

from roles.onhost import journal, services, supervisor_manager
from roles.onhost.commands import output

LOOK_SECONDS = 0.2
UP = ("active", "activating", "reloading")


def main(verb: str, unit: str, ports: list[int], seconds: float) -> dict[str, Any]:
    """Do `verb` (start, stop or restart).

    `outcome` is ready, unchanged (nothing to do), stopped, missing (no such unit), failed (see `reason`), silent (it
    runs, but nothing listens on the ports in `silent` after `seconds`) or unknown (no answer of the service manager).
    """
    try:
        return _change(verb, unit, ports, seconds)
    except TimeoutError as slow:
        return {"outcome": "unknown", "reason": str(slow)}


def _change(verb: str, unit: str, ports: list[int], seconds: float) -> dict[str, Any]:
    if services.value(unit, "LoadState") != "loaded":
        return {"outcome": "missing"}
    active = services.value(unit, "ActiveState")
    if verb == "stop":
        _attempt("stop", unit)
        return {"outcome": "stopped" if active in UP else "unchanged"}
    if verb == "start" and active == "active" and not silent(ports):
        return {"outcome": "unchanged"}
    began = time.time()
    services.change("reset-failed", unit)
    # Returns when a Type=notify unit is ready, and when another unit was started.
    if not _attempt(verb, unit):
        return {"outcome": "failed", "reason": journal.last_words(unit, began)}
    deadline = time.monotonic() + seconds
    while quiet := silent(ports):
        if services.value(unit, "ActiveState") not in UP:
            return {"outcome": "failed", "reason": journal.last_words(unit, began)}
        if time.monotonic() >= deadline:
            return {"outcome": "silent", "silent": quiet}
        time.sleep(LOOK_SECONDS)
    return {"outcome": "ready"}


def _attempt(verb: str, unit: str) -> bool:
    """Do `verb`; whether that succeeded. Raises TimeoutError if supervisord does not answer."""
    why = services.manager().attempt(verb, unit)
    if isinstance(why, supervisor_manager.NoAnswer):
        raise TimeoutError(why)
    return not why


def silent(ports: list[int]) -> list[int]:
    """The TCP ports on which nothing listens."""
    return [port for port in ports if not output("ss", "-Hltn", f"sport = :{port}").strip()]
