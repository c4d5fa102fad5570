"""Service managers as apply and verify see them: their files, their text of a service, and their commands."""

import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

from roles.onhost.init import BOOTED
from roles.onhost.supervisor import SECRETS, SHOWN
from roles.paths import ETC, UNITS, Paths
from roles.programs import command
from roles.service import Service
from templates import render

INIT_COMMAND = f"[ -d {BOOTED} ] && echo systemd || echo supervisor"
"""The shell command that prints which service manager the host needs."""
JOURNAL_SYSLOG = PurePosixPath("/run/systemd/journal/dev-log")


class Manager(Protocol):
    """One kind of service manager on one host."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def slices(self) -> bool:
        """Whether it shares out the machine among groups of services."""

    @property
    def etc(self) -> PurePosixPath:
        """Where what is in ETC really is."""

    @property
    def packages(self) -> PurePosixPath | None:
        """Where files of the distribution's packages are kept; None where they are never needed again."""

    @property
    def syslog(self) -> PurePosixPath | None:
        """The socket at which programs leave lines for their unit's log, as syslog(3) has it; None if there is none."""

    @property
    def mounts(self) -> bool:
        """Whether a service can see a folder in another place than it is (`Service.reads`, `Service.mounts`)."""

    @property
    def watches(self) -> bool:
        """Whether it can start a unit when a folder changes."""

    def file(self, unit: str) -> PurePosixPath:
        """The file that describes a unit."""

    def credentials(self, unit: str) -> PurePosixPath:
        """The folder in which a running unit finds its credentials."""

    def text(self, service: Service) -> str:
        """The text of that file."""

    def show(self, units: Iterable[str]) -> str:
        """The shell command that prints SHOWN of units: NAME=VALUE lines, and an empty line between units."""

    def main_process(self, unit: str) -> str:
        """The shell command that prints the process id of a unit's program."""

    def is_active(self, unit: str) -> str:
        """The shell command that succeeds if a unit is active."""

    def reload(self) -> str:
        """The shell command that has the files of all units read again."""

    def run(self, unit: str) -> str:
        """The shell command that has a unit's file read again, and the unit run with it, now and at each boot."""

    def enable(self, unit: str) -> str:
        """The shell command that has a unit started at each boot, and now."""

    def at_boot(self, unit: str) -> str:
        """The shell command that has a unit started at each boot, but not now."""

    def restart(self, unit: str) -> str:
        """The shell command that restarts a unit."""

    def hang_up(self, unit: str) -> str:
        """The shell command that sends SIGHUP to a unit's program."""

    def remove(self, unit: str) -> list[str]:
        """The shell commands that stop a unit for good, and remove its file and its cache."""


@dataclass(frozen=True)
class Systemd:
    """systemd, as process 1 of a host."""

    name: str = "systemd"
    slices: bool = True
    etc: PurePosixPath = ETC
    packages: None = None
    syslog: PurePosixPath | None = JOURNAL_SYSLOG
    mounts: bool = True
    watches: bool = True

    def file(self, unit: str) -> PurePosixPath:
        return UNITS / unit

    def credentials(self, unit: str) -> PurePosixPath:
        return PurePosixPath("/run/credentials") / unit

    def text(self, service: Service) -> str:
        return render(f"{service.role}/{service.unit}.j2", service=service, **service.hardening)

    def show(self, units: Iterable[str]) -> str:
        return f"systemctl show --property={','.join(SHOWN)} -- {shlex.join(units)}"

    def main_process(self, unit: str) -> str:
        return f"systemctl show -P MainPID {unit}"

    def is_active(self, unit: str) -> str:
        return f"systemctl is-active --quiet {shlex.quote(unit)}"

    def reload(self) -> str:
        return "systemctl daemon-reload"

    def run(self, unit: str) -> str:
        word = shlex.quote(unit)
        return f"systemctl daemon-reload && systemctl enable --quiet {word} && systemctl restart {word}"

    def enable(self, unit: str) -> str:
        return f"systemctl enable --quiet --now {shlex.quote(unit)}"

    def at_boot(self, unit: str) -> str:
        return f"systemctl enable --quiet {unit}"

    def restart(self, unit: str) -> str:
        return f"systemctl restart {unit}"

    def hang_up(self, unit: str) -> str:
        return f"systemctl kill --kill-whom=main -s HUP {unit}"

    def remove(self, unit: str) -> list[str]:
        return [
            f"systemctl disable --now --quiet {unit} 2>/dev/null; systemctl clean --what=cache {unit} || true",
            f"rm -f {self.file(unit)}",
            f"systemctl daemon-reload; systemctl reset-failed {unit} || true",
        ]


SYSTEMD = Systemd()


@dataclass(frozen=True)
class Supervisor:
    """supervisord, on a host whose process 1 is none of systemd's."""

    paths: Paths
    name: str = "supervisord"
    slices: bool = False
    syslog: PurePosixPath | None = None
    mounts: bool = False
    watches: bool = False

    @property
    def etc(self) -> PurePosixPath:
        return self.paths.etc

    @property
    def packages(self) -> PurePosixPath:
        return self.paths.packages

    def file(self, unit: str) -> PurePosixPath:
        return self.paths.supervisor / "services" / unit

    def credentials(self, unit: str) -> PurePosixPath:
        return PurePosixPath(SECRETS / unit)

    def text(self, service: Service) -> str:
        left_out = ("hardening", "role", "unit", "lasting_user")
        told = {name: value for name, value in vars(service).items() if name not in left_out}
        told |= {"runner": self.paths.onhost, "status": service.status, "user": service.user or service.lasting_user}
        for name, value in told.items():
            if isinstance(value, Mapping):
                told[name] = {str(key): one for key, one in value.items()}
        return json.dumps(told, indent=1, sort_keys=True, default=str) + "\n"

    def _command(self, verb: str, *words: object) -> str:
        return shlex.join(command(self.paths.onhost, "supervisor_manager", verb, *words))

    def show(self, units: Iterable[str]) -> str:
        return self._command("show", *units)

    def main_process(self, unit: str) -> str:
        return self._command("main-process", unit)

    def is_active(self, unit: str) -> str:
        return self._command("is-active", unit)

    def reload(self) -> str:
        return "true"  # a file is read when its unit starts

    def run(self, unit: str) -> str:
        return self._command("run", unit)

    def enable(self, unit: str) -> str:
        return self._command("enable-now", unit)

    def at_boot(self, unit: str) -> str:
        return self._command("enable", unit)

    def restart(self, unit: str) -> str:
        return self._command("restart", unit)

    def hang_up(self, unit: str) -> str:
        return self._command("hang-up", unit)

    def remove(self, unit: str) -> list[str]:
        return [f"[ ! -e {shlex.quote(str(self.paths.onhost))} ] || {self._command('remove', unit)}"]


def needed_manager(said: str) -> str:
    """systemd or supervisor, by what INIT_COMMAND printed; systemd where that tells nothing."""
    return "supervisor" if said.strip() == "supervisor" else "systemd"


def manager_of(init: str, paths: Paths) -> Manager:
    """The service manager of a host with this process 1: systemd, or another."""
    return SYSTEMD if init == "systemd" else Supervisor(paths)
