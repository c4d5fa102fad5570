"""Print a service's log for `sdfleet logs`. Runs on the host; see the package's docstring."""

from __future__ import annotations

import sys
from typing import Any

from deploy.onhost.run_states import names
from roles.onhost import services


def main(unit: str, last: int = 0, follow: bool = False, runs: str = "") -> dict[str, Any]:
    """`loaded` is the unit's LoadState, empty if the service manager, `manager`, does not answer.

    `runs` are the names of the runs in that folder, if one is given.

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
    return {"manager": manager.NAME, "loaded": loaded, "runs": names(runs) if runs else []}
