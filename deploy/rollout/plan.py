"""What an update would change on each host."""

from collections.abc import Mapping, Sequence

from deploy.console import out, styled
from deploy.engine import client
from deploy.engine.events import HostResult, Planned, Request
from inventory.errors import SdfleetError
from inventory.model import Fleet


def planned_changes(fleet: Fleet, request: Request) -> dict[str, list[str]]:
    """By host of a request that applies nothing, the operations that would change it.

    Raises SdfleetError if a host cannot be reached or read.
    """
    out.print(f"Comparing {len(request.hosts)} host(s) with fleet.toml")
    changes: dict[str, list[str]] = {name: [] for name in request.hosts}
    problems: list[str] = []
    for event in client.engine_events(fleet, request):
        if isinstance(event, Planned) and event.change:
            changes[event.host].append(event.operation)
        elif isinstance(event, HostResult) and event.status != "ok":
            problems.append(f"{event.host}: {event.error}")
    if problems:
        raise SdfleetError("\n".join([*problems, "Nothing was changed. Fix this, or leave hosts out with --limit."]))
    return changes


def tell_plan(changes: Mapping[str, Sequence[str]], begun: Sequence[str]) -> None:
    """Print what would change, an operation a line; hosts with the same changes are named together."""
    together: dict[tuple[str, ...], list[str]] = {}
    for name, operations in changes.items():
        together.setdefault(tuple(operations), []).append(name)
    for operations, names in together.items():
        for what in operations or ["nothing to change"]:
            out.print(styled("[bold]{}[/]: {}", " ".join(names), what))
    if begun:
        have = "has" if len(begun) == 1 else "have"
        out.print(f"Resuming an interrupted rollout: {' '.join(begun)} {have} not been checked yet.")
