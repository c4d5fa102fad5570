"""The cache's unit and its tokens, as text."""

from collections.abc import Mapping
from pathlib import PurePosixPath

from roles.accounts import CACHE
from roles.cache.config import Cache
from roles.paths import ETC, UNITS, Paths
from templates import render

UNIT = UNITS / "sdfleet-cache.service"
TOKENS = ETC / "cache-tokens.conf"
"""Root's alone; systemd hands it to the service as a credential."""

HELD = {
    "huggingface_token": ("huggingface_authorization", "http_authorization", "Bearer {}"),
    "civitai_token": ("civitai_authorization", "http_authorization", "Bearer {}"),
    "modelscope_token": ("modelscope_cookie", "http_cookie", "m_session_id={}"),
}
"""Secret -> the variable that carries it in nginx.conf, the client's own header, which wins, and the value's form."""


def nginx_conf(paths: Paths) -> PurePosixPath:
    """Where the configuration is."""
    return paths.app("cache") / "nginx.conf"


def unit(cache: Cache, paths: Paths) -> str:
    """The unit file."""
    return render(
        "cache/sdfleet-cache.service.j2",
        user=CACHE,
        folder=paths.http_cache,
        configuration=nginx_conf(paths),
        tokens=TOKENS if cache.hold_tokens else "",
    )


def tokens(secrets: Mapping[str, str]) -> str:
    """The file with the tokens; a secret that the fleet does not have leaves the client's own header alone."""
    maps = []
    for name, (variable, header, form) in HELD.items():
        held = form.format(secrets[name]) if name in secrets else ""
        quoted = held.replace("\\", "\\\\").replace('"', '\\"')
        maps.append(f'map ${header} ${variable} {{ "" "{quoted}"; default ${header}; }}\n')
    return "".join(maps)
