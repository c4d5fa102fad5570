"""The service that stops an idle host, as text for its service manager."""

from collections.abc import Mapping

from roles.managers import Manager
from roles.onhost.provider import stop_command
from roles.paths import UNITS, Paths
from roles.programs import digest
from roles.rental.config import Rental
from roles.service import Service
from roles.settings import SettingError, seconds_of

UNIT = UNITS / "sdfleet-idle-stop.service"
PROGRAM = "idle_stop"
RUNTIME = "sdfleet-idle-stop"
STATE = f"/run/{RUNTIME}/state.json"
"""How long the host has been idle, or what uses it; gone when the service stops."""


def unit_text(rental: Rental, paths: Paths, ports: Mapping[str, int], provider: str, manager: Manager) -> str:
    """The file that describes the service. Raises SettingError if no command is known.

    + ports: of the services that draw, by role; of those that the host has
    + provider: its name, as `roles.onhost.provider` has it
    """
    assert rental.idle_stop
    command = stop_command(rental.stop_command, provider)
    if not command:
        raise SettingError(
            "rental.stop_command",
            "no provider is recognised on this host, so how it is stopped is not known; set it, as idle_stop needs it",
        )
    words = ("/usr/bin/python3", "-I", paths.onhost, PROGRAM, "--seconds", str(seconds_of(rental.idle_stop)))
    asked = {"webui": ports.get("webui", 0), **ports}
    shown = [word for role, port in asked.items() for word in (f"--{role}-port", str(port))]
    service = Service(
        UNIT.name,
        "rental",
        "Stop this host when nothing uses it (sdfleet)",
        (*words, f"--command={command}", "--root", paths.root, *shown, "--state", STATE),
        user="root",
        restart="always",
        restart_seconds=30,
        runtime_folder=RUNTIME,
        marks={"Program": digest(PROGRAM)},
    )
    return manager.text(service)
