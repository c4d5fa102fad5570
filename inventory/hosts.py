"""pyinfra's inventory of a fleet: one entry per host, with its merged settings as data."""

import getpass
import hashlib
import socket
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

from inventory.lock import lock_file
from inventory.model import Fleet, HostSettings
from roles.proxy import Proxy


def pyinfra_hosts(
    fleet: Fleet, names: Iterable[str], askpass: Mapping[str, PurePosixPath] | None = None
) -> list[tuple[str, dict[str, Any]]]:
    """pyinfra inventory entries of the hosts `names`: (pyinfra name, data).

    The data holds `settings` (HostSettings), `secrets` (name -> value, read now), `proxy` (read now), `origin` (who
    runs this, and the sha256 of the lock), `here` (the folder of fleet.toml) and `askpass`.

    + askpass: by host name, the SUDO_ASKPASS program there
    """
    secrets = fleet.secrets.read_all()
    origin = {"by": whoami(), "lock": lock_digest(fleet)}
    shared = {"secrets": secrets, "origin": origin, "here": fleet.file.absolute().parent}
    programs = askpass or {}
    return [_entry(fleet.hosts[name], shared | {"askpass": programs.get(name)}) for name in names]


def proxy_of(host: HostSettings) -> Proxy:
    """The proxy for a host's own traffic, read now. Raises SdfleetError."""
    return Proxy(host.http_proxy.read(host.place("http_proxy")), host.no_proxy)


def whoami() -> str:
    """Who runs this program, as user@machine."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):  # a user id without a name
        return f"somebody@{socket.gethostname()}"


def lock_digest(fleet: Fleet) -> str:
    """The sha256 of the fleet's lock; empty if there is none."""
    file = lock_file(fleet.file)
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else ""


def _entry(settings: HostSettings, shared: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    name = "@local" if settings.connection.local else settings.name
    own = {"settings": settings, "proxy": proxy_of(settings), "_sudo": settings.connection.sudo}
    return name, {**shared, **own}
