"""The cache's unit and its tokens, as text."""

from collections.abc import Mapping
from pathlib import PurePosixPath

from roles.accounts import CACHE
from roles.cache.config import Cache
from roles.cache.servers import variable
from roles.paths import ETC, UNITS, Paths
from roles.token_services import SERVICES
from templates import render

UNIT = UNITS / "sdfleet-cache.service"
TOKENS = ETC / "cache-tokens.conf"
"""Readable by root only; systemd passes it to the service as a credential."""


def nginx_conf(paths: Paths) -> PurePosixPath:
    return paths.app("cache") / "nginx.conf"


def unit(cache: Cache, paths: Paths) -> str:
    return render(
        "cache/sdfleet-cache.service.j2",
        user=CACHE,
        folder=paths.http_cache,
        configuration=nginx_conf(paths),
        tokens=TOKENS if cache.hold_tokens else "",
    )


def tokens(secrets: Mapping[str, str]) -> str:
    """The file with the tokens; without a secret of the fleet the client's own header is passed on."""
    maps = []
    for service in SERVICES:
        held, own = service.headers(secrets).get(service.header, ""), f"$http_{service.header.lower()}"
        quoted = held.replace("\\", "\\\\").replace('"', '\\"')
        maps.append(f'map {own} ${variable(service)} {{ "" "{quoted}"; default {own}; }}\n')
    return "".join(maps)
