"""Change services, and list the training runs that are going. Runs on the host; see the package's docstring."""

from __future__ import annotations

from typing import Any

from deploy.onhost.run_states import active_units
from roles.onhost import services


def main(verb: str, units: list[str], now: bool = False, wait: bool = True) -> dict[str, Any]:
    """Do `verb` (see `services.Manager.attempt`), or nothing if there are no units.

    `failed` says why it failed, `runs` are the units of runs that are running or queued then.
    """
    failed = services.manager().attempt(verb, *units, now=now, wait=wait) if units else ""
    return {"failed": failed, "runs": active_units()}
