"""What the cache's nginx is told, computed from the fleet's mirrors: one server per kind of upstream."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from roles.cache.config import FILES, KINDS, MODELS, Cache
from roles.paths import Paths
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
    hosts: str = ""
    """Pattern of the hosts that may be named in a path of the form /https://HOST/PATH; empty if paths are plain."""

    @property
    def locations(self) -> tuple[tuple[str, Treatment], ...]:
        """Patterns of paths and how they are treated."""
        return TREATMENTS[self.name]


def servers(cache: Cache, upstreams: Mapping[str, Sequence[str]]) -> list[Server]:
    """The servers for these upstreams.

    + upstreams: kind -> mirrors in order, the cache not among them
    """
    found = [
        Server(
            kind, cache.port_of(kind), homes(kind, upstreams[kind]), _named(GITHUB_HOSTS) if kind == "github" else ""
        )
        for kind in KINDS
        if upstreams.get(kind)
    ]
    return [*found, Server(FILES, cache.port_of(FILES), ("https://$named",), _named(INDEX_FILE_HOSTS))]


def homes(kind: str, mirrors: Sequence[str]) -> tuple[str, ...]:
    """What nginx puts before a request's path, for each mirror that the same path leads to the same thing at."""
    if kind == "github":
        return tuple("https://$named" if mirror == GITHUB else f"{mirror}$request_uri" for mirror in mirrors)
    path = urlsplit(mirrors[0]).path
    alike = [mirror for mirror in mirrors if urlsplit(mirror).path == path]
    return tuple(f"{mirror.removesuffix(path) if path else mirror}$request_uri" for mirror in alike)


def nameservers(resolv_conf: str) -> tuple[str, ...]:
    """The DNS servers of a host, as nginx writes them; nginx does not read /etc/resolv.conf itself."""
    found = re.findall(r"^nameserver\s+([0-9A-Fa-f.:]+)", resolv_conf, flags=re.MULTILINE)
    return tuple(f"[{address}]" if ":" in address else address for address in found)


def configuration(cache: Cache, upstreams: Mapping[str, Sequence[str]], paths: Paths, resolv_conf: str) -> str:
    """nginx.conf of the cache."""
    return render(
        "cache/nginx.conf.j2",
        cache=cache,
        folder=paths.http_cache,
        servers=servers(cache, upstreams),
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
