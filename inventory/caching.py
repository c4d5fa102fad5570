"""Put the fleet's own cache first in the mirrors of each host."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from inventory.connection import LOCAL
from inventory.model import HostSettings
from roles.cache.config import KINDS, MODELS, Cache
from roles.mirrors.config import Mirrors

CACHE = "cache"
LOOPBACK = "127.0.0.1"


def behind_cache(hosts: Mapping[str, HostSettings], internal: Mapping[str, str]) -> dict[str, HostSettings]:
    """The hosts with the cache first in their mirrors; unchanged if there is no cache.

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
    """The lists of mirrors that the cache serves."""
    return {kind: getattr(direct, kind) for kind in KINDS}


def _through(direct: Mirrors, cache: Cache, address: str) -> Mirrors:
    """Every list with the cache's port for it first; the others remain, in case the cache is down."""
    update = {}
    for kind, mirrors in upstreams(direct).items():
        # With the user's own apt proxy no cache is needed, and the proxy would be asked for the cache's address.
        if mirrors and not (kind == "apt" and direct.apt_proxy):
            # GitHub's mirrors are URL prefixes; the others keep their path.
            path = "" if kind == "github" else urlsplit(mirrors[0]).path
            update[kind] = (f"http://{address}:{cache.port_of(kind)}{path}", *mirrors)
    return direct.model_copy(update=update)


def _address(name: str, internal: Mapping[str, str]) -> str:
    return LOOPBACK if internal[name] == LOCAL else internal[name]
