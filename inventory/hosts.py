"""From a fleet to pyinfra's inventory: one entry a host, with its merged settings as data."""

import atexit
import getpass
import hashlib
import shutil
import socket
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from inventory.lock import lock_file
from inventory.model import Connection, Fleet, Hop, HostSettings
from roles.proxy import Proxy

ALIVE_SECONDS = 15
"""How often an idle SSH connection is probed, so that a host that vanished is noticed."""


def pyinfra_hosts(fleet: Fleet, names: Iterable[str]) -> list[tuple[str, dict[str, Any]]]:
    """pyinfra inventory entries of the hosts `names`: (pyinfra name, data).

    The data holds `settings` (HostSettings), `secrets` (name -> value, read now), `proxy` (read now), `origin` (who
    runs this, and the sha256 of the lock), `here` (the folder of fleet.toml) and pyinfra's own SSH keys.
    """
    secrets = fleet.secrets.read_all()
    origin = {"by": whoami(), "lock": lock_digest(fleet)}
    folder = Path(tempfile.mkdtemp(prefix="sdfleet-ssh-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    shared = {"secrets": secrets, "origin": origin, "here": fleet.file.absolute().parent}
    return [_entry(fleet.hosts[name], shared, folder) for name in names]


def proxy_of(host: HostSettings) -> Proxy:
    """The proxy of a host's own traffic, read now. Raises SdfleetError."""
    return Proxy(host.http_proxy.read(f"hosts.{host.name}.http_proxy"), host.no_proxy)


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


def _entry(settings: HostSettings, shared: dict[str, Any], folder: Path) -> tuple[str, dict[str, Any]]:
    data: dict[str, Any] = {"settings": settings, **shared, "_sudo": settings.connection.sudo}
    data["proxy"] = proxy_of(settings)
    if settings.connection.local:
        return "@local", data
    return settings.name, data | _ssh_data(settings.name, settings.connection, folder)


def _ssh_data(name: str, connection: Connection, folder: Path) -> dict[str, Any]:
    config = folder / name
    lines = [f"Host {connection.address}", f"  ServerAliveInterval {ALIVE_SECONDS}"]
    # pyinfra takes the names of all hops but the first for addresses.
    places = [f"sdfleet-hop-{name}", *(hop.address for hop in connection.hops[1:])] if connection.hops else []
    if places:
        lines.append(f"  ProxyJump {','.join(places)}")
    for place, hop in zip(places, connection.hops, strict=True):
        lines += [
            f"Host {place}",
            *(f"  {line}" for line in hop_options(hop)),
            f"  ServerAliveInterval {ALIVE_SECONDS}",
        ]
        # Told nothing of the jump host, pyinfra would ask a person about its key, and wait.
        lines += [f"  {option} {value}" for option, value in trust(connection).items()]
    config.write_text("\n".join(lines) + "\n")
    data: dict[str, Any] = {
        "ssh_hostname": connection.address,
        "ssh_port": connection.port,
        "ssh_user": connection.user,
        "ssh_config_file": str(config),
        "ssh_strict_host_key_checking": str(trust(connection)["StrictHostKeyChecking"]),
    }
    if connection.key:
        data |= {"ssh_key": str(connection.key), "ssh_allow_agent": False, "ssh_look_for_keys": False}
    if connection.known_hosts:
        data["ssh_known_hosts_file"] = str(connection.known_hosts)
    return data


def hop_options(hop: Hop) -> list[str]:
    """OpenSSH's options for where a jump host is."""
    return [f"HostName {hop.address}", f"Port {hop.port}", *([f"User {hop.user}"] if hop.user else [])]


def trust(connection: Connection) -> dict[str, str | Path]:
    """OpenSSH's options for whom to believe, and with which key to log in: for a host and the hop before it."""
    found: dict[str, str | Path] = {}
    if connection.key:
        found |= {"IdentityFile": connection.key, "IdentitiesOnly": "yes"}
    if connection.known_hosts:
        found |= {"UserKnownHostsFile": connection.known_hosts, "GlobalKnownHostsFile": "/dev/null"}
    return found | {"StrictHostKeyChecking": "yes" if connection.known_hosts else "accept-new"}
