"""The lab's fleet.toml: an ordinary fleet whose hosts are behind loopback ports."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomlkit

from inventory.load import load
from lab.access import LOOPBACK
from lab.handle import Lab
from lab.network import GITHUB_URL, HUGGINGFACE_URL, INDEX_URL, PACKAGES_URL, SSH_PORT, TORCH_URL
from lab.state import HostState

HEADER = """\
Local test machines. Written by `sdfleet lab up`; use it like any other:
  sdfleet plan --fleet {file}
"""

MIRRORS = {
    "github": [GITHUB_URL],
    "huggingface": [HUGGINGFACE_URL],
    "pypi": [INDEX_URL],
    "torch": [TORCH_URL],
    "apt_proxy": PACKAGES_URL,
}


def write(
    lab: Lab, groups: Sequence[str] = (), tables: Mapping[str, Any] | None = None, file: Path | None = None
) -> Path:
    """Write the fleet.toml of `lab` and return its path.

    + groups: the groups of every host (webui, train)
    + tables: further top-level tables, or other values for some of these, e.g. {"webui": {"port": 7861}}
    + file: its path, if not in the lab's folder
    Raises ConfigError if the fleet is invalid.
    """
    file = file or lab.fleet
    document = tomlkit.document()
    for line in HEADER.format(file=file).splitlines():
        document.add(tomlkit.comment(line))
    content: dict[str, dict[str, Any]] = {
        "fleet": {"name": "lab", "user": "root", "key": str(lab.key), "known_hosts": str(lab.known_hosts)},
        "mirrors": MIRRORS,
        "base": {"min_free_gb": 2},
    }
    for name, table in {**content, **(tables or {})}.items():
        document[name] = {**content.get(name, {}), **table} if isinstance(table, Mapping) else table
    hosts = tomlkit.table(is_super_table=True)
    for host in lab.hosts:
        hosts[host.name] = {**place(lab, host), "groups": list(groups)}
    document["hosts"] = hosts
    file.write_text(tomlkit.dumps(document))
    load(file)
    return file


def place(lab: Lab, host: HostState, inside: bool = False) -> dict[str, Any]:
    """Where the host is; a container's as its owner pastes it from the provider's page.

    + inside: as it is reached from inside the lab's network, not over this machine's loopback
    """
    address, port = (host.address, SSH_PORT) if inside else (LOOPBACK, host.port)
    if not host.rented:
        return {"address": address, "port": port}
    return {"address": f"ssh -p {port} root@{address}", "password": {"file": str(lab.folder.password(host.name))}}


def rebind(lab: Lab, file: Path) -> None:
    """Change a fleet.toml that was written for another lab to the hosts of `lab`, with its key and ports.

    Hosts that are not in the file become copies of its first.
    """
    document = tomlkit.parse(file.read_text())
    document["fleet"].update({"key": str(lab.key), "known_hosts": str(lab.known_hosts)})
    hosts = document["hosts"]
    first = dict(next(iter(hosts.values())).unwrap())
    for host in lab.hosts:
        table = hosts.setdefault(host.name, dict(first))
        # The hosts have ports on this machine's loopback, or are reached from inside the lab's network.
        table.update(place(lab, host, inside=LOOPBACK not in table["address"]))
    file.write_text(tomlkit.dumps(document))
