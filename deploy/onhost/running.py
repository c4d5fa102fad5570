"""Read whether a service runs, and if not why. Runs on the host; see the package's docstring."""

from __future__ import annotations

import time

from roles.onhost import journal, services


def main(unit: str) -> dict[str, str]:
    """`state` is the unit's ActiveState, `reason` why it is not active; empty if it is."""
    try:
        state = services.value(unit, "ActiveState")
        left = services.value(unit, "InactiveExitTimestampMonotonic")
    except TimeoutError as slow:
        return {"state": "unknown", "reason": str(slow)}
    if state == "active":
        return {"state": state, "reason": ""}
    # Its last start; a unit that was never started has no time, or 0.
    since = time.time() - time.monotonic() + int(left or 0) / 1e6
    return {"state": state, "reason": journal.last_words(unit, since)}
