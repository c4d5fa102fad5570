"""The places of sdfleet's services on a host without systemd, and what is known of each there.

A service's file is JSON (roles/service.py); its runner (supervised.py) keeps a state file, and its log.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from roles.onhost import files

RUN = Path("/run/sdfleet-supervisor")
"""Sockets and states; gone with the container's root file system, or stale after a stop."""
HOME = RUN / "home"
"""Link to the folder on the data disk: services/, enabled/, programs/, logs/, supervisord.conf."""
SOCKET = RUN / "supervisord.sock"
STATES = RUN / "state"
SECRETS = RUN / "credentials"
KEEPS = RUN / "keeps"
"""A file for each unit whose runner ends for a restart."""

INACTIVE = {"active": "inactive", "sub": "dead", "result": "success"}
LEAST_SECONDS = 1
"""supervisord takes a runner that ends sooner for one that cannot run: after four such starts it gives up."""
SHOWN = ("Id", "LoadState", "UnitFileState", "ActiveState", "NeedDaemonReload")
"""The properties of a unit that apply and verify ask for, of each manager."""


def there() -> bool:
    """Whether this host's services are run by supervisord."""
    return HOME.is_dir()


def file_of(unit: str) -> Path:
    """The file that describes a unit; that of its template for an instance."""
    name, at, _ = unit.partition("@")
    return HOME / "services" / (f"{name}@.service" if at else unit)


def instance_of(unit: str) -> str:
    """What stands between @ and .service in a unit's name."""
    return unit.partition("@")[2].rpartition(".service")[0]


def digest(unit: str) -> str:
    """Tells the text of a unit's file from others; empty if there is none."""
    try:
        return hashlib.sha256(file_of(unit).read_bytes()).hexdigest()
    except OSError:
        return ""


def described(unit: str) -> dict[str, Any]:
    """What a unit's file says, with the instance's name in its place. Raises OSError, ValueError."""
    text = file_of(unit).read_text()
    instance = json.dumps(instance_of(unit))[1:-1]
    found = json.loads(text.replace("%i", instance) if "@" in unit else text)
    assert isinstance(found, dict)
    return found


def read_state(unit: str) -> dict[str, Any]:
    """What the unit's runner last said; INACTIVE if it is gone without a word, or never ran."""
    found = files.read_json(STATES / f"{unit}.json")
    if not found:
        return dict(INACTIVE)
    gone = found.get("active") not in ("inactive", "failed") and started(found.get("runner", 0)) != found.get("since")
    return {**found, **INACTIVE, "pid": 0} if gone else found


def write_state(unit: str, state: dict[str, Any]) -> None:
    """Keep what is known of a unit."""
    STATES.mkdir(parents=True, exist_ok=True)
    files.write(STATES / f"{unit}.json", json.dumps(state))


def started(pid: int) -> int:
    """When a process began, in the kernel's ticks; 0 if there is none. A number may be given to another process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text() if pid else ""
    except OSError:
        return 0
    words = stat.rpartition(")")[2].split()
    return int(words[19]) if words and words[0] != "Z" else 0


def children(pid: int) -> list[int]:
    """All processes below one."""
    parents: dict[int, list[int]] = {}
    for place in Path("/proc").iterdir():
        if (name := place.name).isdigit():
            try:
                stat = Path(f"/proc/{name}/stat").read_text()
            except OSError:
                continue
            parents.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(name))
    found, left = [], [pid]
    while left:
        below = parents.get(left.pop(), [])
        found += below
        left += below
    return found
