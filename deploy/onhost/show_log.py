"""Print a service's log for `sdfleet logs`. Runs on the host; see the package's docstring."""

from __future__ import annotations

import sys

from roles.onhost import services


def main(unit: str, last: int = 0, follow: bool = False) -> dict[str, str]:
    """`loaded` is the unit's LoadState, empty if the service manager, `manager`, does not answer.

    With `last` the unit's last lines are printed instead, and with `follow` each further one too.
    """
    manager = services.manager()
    if last:
        manager.show(unit, last, follow)
        sys.exit()
    try:
        loaded = manager.value(unit, "LoadState")
    except TimeoutError:
        loaded = ""
    return {"manager": manager.NAME, "loaded": loaded}
