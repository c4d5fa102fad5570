"""The cache's unit and its tokens, as text."""

from collections.abc import Mapping
from pathlib import PurePosixPath

from roles.accounts import CACHE
from roles.cache.config import Cache
from roles.cache.servers import variable
from roles.managers import Manager
from roles.paths import ETC, UNITS, Paths
from roles.service import Service
from roles.token_services import SERVICES

UNIT = UNITS / "sdfleet-cache.service"
TOKENS = ETC / "cache-tokens.conf"
"""Readable by root only; systemd passes it to the service as a credential."""


def nginx_conf(paths: Paths) -> PurePosixPath:
    return paths.app("cache") / "nginx.conf"


def unit(cache: Cache, paths: Paths, manager: Manager) -> str:
    """The file that describes the service to a host's service manager."""
    service = Service(
        UNIT.name,
        "cache",
        "Caching proxy for the fleet's downloads",
        ("/usr/sbin/nginx", "-c", nginx_conf(paths)),
        foreground=("-g", "daemon off;"),
        user=CACHE,
        umask=0o077,
        ready="forks",
        restart="on-failure",
        restart_seconds=2,
        stop_signal="QUIT",
        stop_seconds=20,
        runtime_folder="sdfleet-cache",
        credentials={"tokens.conf": TOKENS} if cache.hold_tokens else {},
        writes=(paths.http_cache,),
        open_files=16384,
    )
    return manager.text(service)


def tokens(secrets: Mapping[str, str]) -> str:
    """The file with the tokens; without a secret of the fleet the client's own header is passed on."""
    maps = []
    for service in SERVICES:
        held, own = service.headers(secrets).get(service.header, ""), f"$http_{service.header.lower()}"
        quoted = held.replace("\\", "\\\\").replace('"', '\\"')
        maps.append(f'map {own} ${variable(service)} {{ "" "{quoted}"; default {own}; }}\n')
    return "".join(maps)
