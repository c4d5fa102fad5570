"""List the training runs that are going. Runs on the host; see the package's docstring."""

from __future__ import annotations

from typing import Any

from deploy.onhost.run_states import active_units


def main() -> dict[str, Any]:
    """`runs` are the units of runs that are running or queued; `failed` says why they are unknown."""
    try:
        return {"runs": active_units(), "failed": ""}
    except OSError as error:
        return {"runs": [], "failed": str(error)}
