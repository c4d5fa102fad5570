"""What the fleet's own cache means for the settings of each host: its mirrors lead there first."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from inventory.model import LOCAL, HostSettings
from roles.cache.config import KINDS, MODELS, Cache
from roles.mirrors.config import Mirrors

CACHE = "cache"
LOOPBACK = "127.0.0.1"


def behind_cache(hosts: Mapping[str, HostSettings], internal: Mapping[str, str]) -> dict[str, HostSettings]:
    """The hosts with the cache in front of their mirrors; unchanged if no host has that role.

    + internal: name -> address at which the other hosts reach a host
    """
    caches = {name: host.cache for name, host in hosts.items() if host.has(CACHE)}
    shared = {name: f"http://{_address(name, internal)}:{cache.port_of(MODELS)}" for name, cache in caches.items()}
    if not caches:
        return dict(hosts)
    first, cache = next(iter(caches.items()))
    found = {}
    for name, host in hosts.items():
        address = LOOPBACK if name == first else _address(first, internal)
        mirrors = _through(host.direct, cache, address)
        mirrors = mirrors.model_copy(update={"hosts": shared | host.direct.hosts})
        found[name] = host.model_copy(update={"mirrors": mirrors})
    return found


def upstreams(direct: Mirrors) -> dict[str, tuple[str, ...]]:
    """The lists of mirrors that the cache stands before."""
    return {kind: getattr(direct, kind) for kind in KINDS}


def _through(direct: Mirrors, cache: Cache, address: str) -> Mirrors:
    """Every list with the cache's port for it in front; what was there goes on being asked if the cache is down."""
    update = {}
    for kind, mirrors in upstreams(direct).items():
        # A proxy for apt that the user named does the same already, and would be asked for the cache's address.
        if mirrors and not (kind == "apt" and direct.apt_proxy):
            # GitHub's mirrors are prefixes; all others are asked under the path they have.
            path = "" if kind == "github" else urlsplit(mirrors[0]).path
            update[kind] = (f"http://{address}:{cache.port_of(kind)}{path}", *mirrors)
    return direct.model_copy(update=update)


def _address(name: str, internal: Mapping[str, str]) -> str:
    return LOOPBACK if internal[name] == LOCAL else internal[name]
