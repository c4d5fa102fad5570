"""What the cache's nginx is told, computed from the fleet's mirrors: one server per kind of upstream."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from roles.cache.config import FILES, KINDS, MODELS, Cache
from roles.paths import Paths
from roles.secrecy import Service, may_see, service_of
from templates import render

Treatment = Literal["file", "kept", "page", "git", "pass"]
"""file: kept in pieces, for minutes where no storage has its own name for it; kept: in pieces, for as long as the cache
keeps anything; page: kept for minutes; git: a fetch of given commits is kept; pass: always asked."""

GITHUB = "https://github.com"
GITHUB_HOSTS = ("github.com", "raw.githubusercontent.com", "codeload.github.com")
INDEX_FILE_HOSTS = ("files.pythonhosted.org", "download-r2.pytorch.org")
"""Where pypi.org and download.pytorch.org keep what their pages list; their pages are rewritten to lead here."""

WHEELS = r"\.(whl|zip|tar\.gz|tar\.bz2|metadata)$"
TREATMENTS: dict[str, tuple[tuple[str, Treatment], ...]] = {
    "huggingface": (("/resolve/", "file"), ("^/", "pass")),
    "civitai": (("^/api/download/", "file"), ("^/", "pass")),
    "modelscope": (("^/api/v1/models/[^/]+/[^/]+/repo$", "file"), ("/resolve/", "file"), ("^/", "pass")),
    "github": (
        ("/git-upload-pack$", "git"),
        (r"/(archive|releases/download|raw|zip|tar\.gz)/", "file"),
        ("^/", "pass"),
    ),
    "pypi": ((WHEELS, "kept"), ("^/", "page")),
    "torch": ((WHEELS, "kept"), ("^/", "page")),
    "apt": (("/(pool|by-hash)/", "kept"), ("^/", "pass")),
    FILES: (("^/", "kept"),),
}
"""By kind of upstream: which paths get which treatment, the first that matches."""

MODEL_FILES = r"^/(models|embeddings)/.+\.(safetensors|ckpt|pt|pth|bin)$"


@dataclass(frozen=True)
class Server:
    """One port of the cache."""

    name: str
    port: int
    homes: tuple[str, ...]
    """Where a request goes on to, in order: nginx's words for scheme, host and what comes before the path."""
    tokens: tuple[str, ...] = ()
    """For each of `homes`, nginx's value of the header that logs in there; "" where no login may be shown."""
    header: str = ""
    """That header; empty for kinds that have no token of the fleet."""
    hosts: str = ""
    """Pattern of the hosts that may be named in a path of the form /https://HOST/PATH; empty if paths are plain."""

    @property
    def locations(self) -> tuple[tuple[str, Treatment], ...]:
        """Patterns of paths and how they are treated."""
        return TREATMENTS[self.name]


def servers(cache: Cache, upstreams: Mapping[str, Sequence[str]], tokens_to: Collection[str] = ()) -> list[Server]:
    """The servers for these upstreams.

    + upstreams: kind -> mirrors in order, the cache not among them
    + tokens_to: mirrors that may be shown a token besides those who issued it
    """
    found = [
        Server(
            kind,
            cache.port_of(kind),
            homes(kind, upstreams[kind]),
            *_logins(kind, _alike(upstreams[kind]), cache.hold_tokens, tokens_to),
            hosts=_named(GITHUB_HOSTS) if kind == "github" else "",
        )
        for kind in KINDS
        if upstreams.get(kind)
    ]
    return [*found, Server(FILES, cache.port_of(FILES), ("https://$named",), hosts=_named(INDEX_FILE_HOSTS))]


def homes(kind: str, mirrors: Sequence[str]) -> tuple[str, ...]:
    """What nginx puts before a request's path, for each mirror that the same path leads to the same thing at."""
    if kind == "github":
        return tuple("https://$named" if mirror == GITHUB else f"{mirror}$request_uri" for mirror in mirrors)
    path = urlsplit(mirrors[0]).path
    return tuple(f"{mirror.removesuffix(path) if path else mirror}$request_uri" for mirror in _alike(mirrors))


def _alike(mirrors: Sequence[str]) -> list[str]:
    """The mirrors that have the same paths as the first."""
    return [mirror for mirror in mirrors if urlsplit(mirror).path == urlsplit(mirrors[0]).path]


def _logins(kind: str, mirrors: Sequence[str], held: bool, tokens_to: Collection[str]) -> tuple[tuple[str, ...], str]:
    """For each mirror what logs in there (`Server.tokens`), and the header that does.

    A mirror that may see no token sees neither the cache's nor one that a host of the fleet sent.
    """
    if not (service := service_of(kind)):
        return (), ""
    own = f"$http_{service.header.lower()}"
    shown = f"${variable(service)}" if held else own
    return tuple(shown if may_see(mirror, service, tokens_to) else "" for mirror in mirrors), service.header


def variable(service: Service) -> str:
    """nginx's variable with the login that the cache holds, or the client's own where that has one."""
    return f"{service.endpoints}_{service.header.lower()}"


def nameservers(resolv_conf: str) -> tuple[str, ...]:
    """The DNS servers of a host, as nginx writes them; nginx does not read /etc/resolv.conf itself."""
    found = re.findall(r"^nameserver\s+([0-9A-Fa-f.:]+)", resolv_conf, flags=re.MULTILINE)
    return tuple(f"[{address}]" if ":" in address else address for address in found)


def configuration(
    cache: Cache,
    upstreams: Mapping[str, Sequence[str]],
    paths: Paths,
    resolv_conf: str,
    tokens_to: Collection[str] = (),
) -> str:
    """nginx.conf of the cache."""
    return render(
        "cache/nginx.conf.j2",
        cache=cache,
        folder=paths.http_cache,
        servers=servers(cache, upstreams, tokens_to),
        nameservers=nameservers(resolv_conf),
        files_port=cache.port_of(FILES),
        index_file_hosts=INDEX_FILE_HOSTS,
        models_port=cache.port_of(MODELS),
        models=paths.data("webui"),
        model_files=MODEL_FILES,
        converted=paths.converted,
    )


def _named(hosts: Sequence[str]) -> str:
    return "|".join(re.escape(host) for host in hosts)
