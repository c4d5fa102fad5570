"""Print a service's log for `sdfleet logs`. Runs on the host; see the package's docstring."""

from __future__ import annotations

import sys

from roles.onhost import services


def main(unit: str, last: int = 0, follow: bool = False) -> str:
    """The unit's LoadState; with `last` its last lines are printed instead, and with `follow` each further one too."""
    if last:
        services.manager().show(unit, last, follow)
        sys.exit()
    return services.value(unit, "LoadState")
