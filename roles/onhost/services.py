"""Services as programs on a host see them, whichever manager runs them: their states, commands and logs.

States are told in systemd's words (ActiveState, LoadState, ...), and units have systemd's names under every manager.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from roles.onhost import init, supervisor_manager, systemd_manager


class Manager(Protocol):
    """What a service manager can do."""

    NAME: str
    """What people call it."""

    def shown(self, unit: str, *names: str) -> dict[str, str]:
        """Properties of a unit; those that the manager does not know are left out. Raises TimeoutError."""

    def value(self, unit: str, name: str) -> str:
        """One property of a unit. Raises TimeoutError."""

    def attempt(self, verb: str, *units: str, now: bool = False, wait: bool = True) -> str:
        """Do `verb`; why that failed, in one or more lines, empty if it succeeded.

        + verb: start, stop, restart, try-restart, enable, disable, reset-failed, kill, reload (the units' files)
        + now: also start what is enabled, stop what is disabled
        + wait: until a service that is started is ready
        """

    def active(self, pattern: str) -> list[str]:
        """Names of the units that are active or being started. Raises OSError if the manager does not tell."""

    def failed(self) -> list[str]:
        """Names of the units that have failed."""

    def unit_files(self) -> list[Path]:
        """The files of sdfleet's units."""

    def lines(self, unit: str, last: int, since: float = 0.0, seconds: float | None = None) -> list[str]:
        """The last lines that a service itself wrote, since a time (s since the epoch).

        + seconds: how long the log's program may take, commands.SECONDS if not given; none are known then
        """

    def lines_of_start(
        self, unit: str, most: int, longest: int, since: float | None = None, until: float | None = None
    ) -> list[str] | None:
        """What a service wrote since its last start; None if that is unknown, or nothing.

        With `since` the last lines after that time, else the first ones, up to `until`.

        + most, longest: lines that are read, and bytes of each
        """

    def host_log(self, last: int) -> list[str]:
        """The last lines of the host since it booted, each with its time."""

    def own_log(self, last: int) -> list[str]:
        """The last lines of sdfleet's services within a day, each with its time."""

    def place_of_log(self, unit: str) -> str:
        """Where a person on the host finds a unit's log: a command or a file."""

    def show(self, unit: str, last: int, follow: bool) -> None:
        """Print a service's last lines, each with its time, and with `follow` each further one, without end."""


def manager() -> Manager:
    """The service manager of this host."""
    return systemd_manager if init.is_systemd() else supervisor_manager


def shown(unit: str, *names: str) -> dict[str, str]:
    """Properties of a unit; those that the manager does not know are left out. Raises TimeoutError."""
    return manager().shown(unit, *names)


def value(unit: str, name: str) -> str:
    """One property of a unit. Raises TimeoutError."""
    return manager().value(unit, name)


def state(unit: str) -> str:
    """The unit's ActiveState: active, activating, inactive, failed, ...; empty if the manager does not answer."""
    try:
        return value(unit, "ActiveState")
    except TimeoutError:
        return ""


def change(verb: str, *units: str, now: bool = False, wait: bool = True) -> bool:
    """Do `verb` (see `Manager.attempt`); whether that succeeded."""
    return not manager().attempt(verb, *units, now=now, wait=wait)


def is_active(unit: str) -> bool:
    """Whether a unit is started, and ready if it tells when it is."""
    return state(unit) == "active"
