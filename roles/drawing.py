"""What the services that draw have in common: the program that runs them, their settings, and their state."""

import hashlib
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from roles import egress
from roles.managers import Manager
from roles.onhost.drawing_applications import APPLICATIONS
from roles.onhost.files import json_object
from roles.operations.application import Release
from roles.operations.locks import Device
from roles.paths import Paths
from roles.programs import command, digest
from roles.service import Path, Service

DRAIN_SECONDS = 60
TITLES = {role: app.NAME.removeprefix("the ") for role, app in APPLICATIONS.items()}
"""Names of the applications for tables and headings, by role."""


@dataclass(frozen=True)
class Drawing:
    """One such service, but for the text of its unit."""

    unit: str
    program: str
    """The program of roles.onhost that runs it."""
    description: str
    user: str
    port: int
    start_timeout: int
    egress: Sequence[str]
    release: Release
    device: Device
    environment: Mapping[str, Path]
    arguments: Sequence[str]
    """Of the application, but its port."""
    options: Sequence[str] = ()
    """Further ones of the program."""
    reads: Mapping[PurePosixPath, PurePosixPath] = field(default_factory=dict)
    marks: object = ()
    """What it must be restarted for besides."""

    def text(self, paths: Paths, manager: Manager) -> str:
        """The file that describes the service to a host's service manager."""
        draft = manager.text(self._service(paths, ""))
        whole = repr((draft, self.release.id, self.marks, digest(self.program)))
        return manager.text(self._service(paths, hashlib.sha256(whole.encode()).hexdigest()[:16]))

    def _service(self, paths: Paths, mark: str) -> Service:
        app = self.release.app
        current, data, own = paths.current(app), paths.data(app), self.unit.removesuffix(".service")
        words = [str(current / "env/bin/python"), str(paths.onhost), self.program, "--port", str(self.port)]
        words += ["--state", state_file(self.unit), "--release", self.release.id, "--device", self.device]
        words += ["--drain", str(DRAIN_SECONDS), "--start-timeout", str(self.start_timeout)]
        words += ["--fingerprint", mark or "-", *self.options, "--"]
        return Service(
            self.unit,
            app,
            self.description,
            (*words, *self.arguments),
            user=self.user,
            environment=self.environment,
            folder=current / "code",
            ready="notifies",
            start_seconds=self.start_timeout + 30,
            restart="always",
            failures=10,
            failures_seconds=3600,
            stop_seconds=DRAIN_SECONDS + 20,
            runtime_folder=own,
            runtime_kept=True,
            cache_folder=own,
            reads=self.reads,
            writes=(data,),
            oom_score=500,
            hardening={"network": egress.rules(self.egress), "device": self.device},
        )


def environment(unit: str, data: PurePosixPath, paths: Paths) -> dict[str, Path]:
    """The environment variables that all of them get."""
    return {
        "HOME": data,
        "XDG_CACHE_HOME": data / "cache",
        "MPLCONFIGDIR": data / "cache/matplotlib",
        "NUMBA_CACHE_DIR": data / "cache/numba",
        "TMPDIR": "/tmp",
        "HF_HOME": paths.hub,
        # CUDA's own order is by speed; the flag for a card and the runs' GPU locks use nvidia-smi's.
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        # glibc's allocator does not return memory: it grows until the kernel kills the service.
        "LD_PRELOAD": "libtcmalloc_minimal.so.4",
        "PYTHONUNBUFFERED": "1",
        # The environment is read-only, and compiling all of it would take minutes: bytecode is cached here on use.
        "PYTHONPYCACHEPREFIX": f"/var/cache/{unit.removesuffix('.service')}",
    }


def state_file(unit: str) -> str:
    """Release, fingerprint, readiness and first picture of the running service; gone when it stops."""
    return f"/run/{unit.removesuffix('.service')}/state.json"


def service_state(state: str | None) -> dict[str, Any]:
    """The running service's own state (the text of its file); untrusted beyond the service itself."""
    return json_object((state or "").encode())


def unit_fingerprint(text: str) -> str:
    """The fingerprint in a unit file; empty if there is none."""
    found = re.search(r'--fingerprint[\s",]+(\w+)', text)
    return found[1] if found else ""


def runs_as_wanted(state: str | None, unit_text: str) -> bool:
    """Whether the running service is the one of this unit's text."""
    return service_state(state).get("fingerprint") == unit_fingerprint(unit_text)


def refresh(role: str, port: int, paths: Paths) -> str:
    """The command that makes a running application look at its models again, without a restart."""
    state = state_file(APPLICATIONS[role].UNIT)
    return shlex.join(command(paths.onhost, "refresh_models", role, "--port", port, "--state", state))
