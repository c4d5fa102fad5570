"""The service that puts back what served before, unless a change of its host is confirmed from outside."""

from roles.managers import Manager
from roles.onhost import confirm
from roles.paths import ETC, UNITS, Paths
from roles.programs import digest
from roles.service import Service

CONFIRM_UNIT = UNITS / confirm.UNIT
PROGRAM = "confirm"


def confirm_text(paths: Paths, manager: Manager) -> str:
    """The file that describes the service to a host's service manager."""
    service = Service(
        CONFIRM_UNIT.name,
        "base",
        "Put back what served before a change that is not confirmed (sdfleet)",
        ("/usr/bin/python3", "-I", paths.onhost, PROGRAM, "watch"),
        user="root",
        restart="on-failure",
        restart_seconds=5,
        failures=20,
        failures_seconds=300,
        # Releases, units, the gateway, mirrors; git's and pip's configuration lie in /etc itself.
        writes=(paths.root, ETC.parent, "/run"),
        marks={"Program": digest(PROGRAM)},
    )
    return manager.text(service)
