"""Units of the host's service manager: their files, and that they run with what is in them."""

from collections.abc import Mapping
from pathlib import PurePosixPath

from pyinfra.api.operation import operation
from pyinfra.context import host
from pyinfra.operations import server

from roles.facts.seen import HostSurvey
from roles.managers import Manager
from roles.operations.files import Commands, rendered


def write_units(units: Mapping[PurePosixPath, str], seen: HostSurvey, manager: Manager) -> None:
    """Write files of units that need no restart, and let the manager read them if one changes.

    What was seen before decides, as pyinfra's `_if` would show a change in every plan.

    + units: text of each unit file
    + seen: a survey that read them
    """
    for path, text in host.loop(list(units.items())):
        rendered(name=f"Write {path.name}", dest=path, text=text, seen=seen)
    if any(changes(path, text, seen) for path, text in units.items()):
        server.shell(name=f"Let {manager.name} read its units", commands=[manager.reload()])


def run_unit(name: str, unit: PurePosixPath, text: str, seen: HostSurvey, manager: Manager) -> None:
    """Write a unit's file, and have the unit run with it, now and at each boot.

    + name: of the operation that starts it
    + seen: a survey that read its file and looked at the unit
    """
    rendered(name=f"Write {unit.name}", dest=unit, text=text, seen=seen)
    if changes(unit, text, seen):
        # In one command: after an apply that ends in between, nothing would show that the old text still runs.
        server.shell(name=name, commands=[manager.run(unit.name)])
    else:
        started(name=name, unit=unit.name, seen=seen, manager=manager)


@operation()
def started(unit: str, seen: HostSurvey, manager: Manager) -> Commands:
    """
    Have a unit run now and at each boot; one that does is left alone.

    + unit: its name
    + seen: a survey that looked at it
    """
    state = seen.unit(unit)
    if state.active and state.enabled:
        host.noop(f"{unit} runs")
        return
    yield manager.enable(unit)


def changes(unit: PurePosixPath, text: str, seen: HostSurvey) -> bool:
    """Whether the manager knows the unit by another text than this one."""
    return seen.text(unit) != text or seen.unit(unit.name).stale
