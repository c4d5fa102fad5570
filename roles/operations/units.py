"""systemd units: their files, and that they run with what is in them."""

import shlex
from collections.abc import Mapping
from pathlib import PurePosixPath

from pyinfra.context import host
from pyinfra.operations import server, systemd

from roles.facts.seen import HostSurvey
from roles.operations.files import rendered


def write_units(units: Mapping[PurePosixPath, str], seen: HostSurvey) -> None:
    """Write files of units that need no restart, and let systemd read them if one changes.

    What was seen before decides, as pyinfra's `_if` would show a change in every plan.

    + units: text of each unit file
    + seen: a survey that read them
    """
    for path, text in host.loop(list(units.items())):
        rendered(name=f"Write {path.name}", dest=path, text=text, seen=seen)
    if any(changes(path, text, seen) for path, text in units.items()):
        systemd.daemon_reload(name="Let systemd read its units")


def run_unit(name: str, unit: PurePosixPath, text: str, seen: HostSurvey) -> None:
    """Write a unit's file, and have the unit run with it, now and at each boot.

    + name: of the operation that starts it
    + seen: a survey that read its file and looked at the unit
    """
    rendered(name=f"Write {unit.name}", dest=unit, text=text, seen=seen)
    if changes(unit, text, seen):
        # In one command: after an apply that ends in between, nothing would show that the old text still runs.
        words = shlex.quote(unit.name)
        start = f"systemctl daemon-reload && systemctl enable --quiet {words} && systemctl restart {words}"
        server.shell(name=name, commands=[start])
    else:
        systemd.service(name=name, service=unit.name, enabled=True)


def changes(unit: PurePosixPath, text: str, seen: HostSurvey) -> bool:
    """Whether systemd knows the unit by another text than this one."""
    return seen.text(unit) != text or seen.unit(unit.name).stale
