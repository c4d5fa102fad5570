"""systemd units: their files, and that they run with what is in them."""

from collections.abc import Mapping
from pathlib import PurePosixPath

from pyinfra.context import host
from pyinfra.operations import systemd

from roles.facts.seen import HostSurvey
from roles.operations.files import rendered


def write_units(units: Mapping[PurePosixPath, str], seen: HostSurvey) -> None:
    """Write unit files, and let systemd read them if one changes.

    What was seen before decides, as pyinfra's `_if` would show a change in every plan.

    + units: text of each unit file
    + seen: a survey that read them
    """
    for path, text in host.loop(list(units.items())):
        rendered(name=f"Write {path.name}", dest=path, text=text, seen=seen)
    if any(changes(path, text, seen) for path, text in units.items()):
        systemd.daemon_reload(name="Let systemd read its units")


def run_unit(name: str, unit: PurePosixPath, text: str, seen: HostSurvey) -> None:
    """Have a unit run, now and at each boot, and with the text that its file has.

    + name: of the operation
    + seen: a survey that read its file and looked at the unit, before the file was written
    """
    systemd.service(name=name, service=unit.name, enabled=True, restarted=changes(unit, text, seen))


def changes(unit: PurePosixPath, text: str, seen: HostSurvey) -> bool:
    """Whether systemd knows the unit by another text than this one."""
    return seen.text(unit) != text or seen.unit(unit.name).stale
