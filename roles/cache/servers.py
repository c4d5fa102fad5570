"""The configuration of the cache's nginx, computed from the fleet's mirrors: one server per kind of upstream."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal
from urllib.parse import urlsplit

from roles.cache.config import FILES, KINDS, MODELS, Cache
from roles.github import GITHUB, of_files
from roles.paths import Paths
from roles.token_services import TokenService, may_see, service_of
from templates import render

Treatment = Literal["file", "kept", "page", "git", "pass"]
"""file: cached in slices, for minutes if it is not redirected to a storage host; kept: cached in slices for as long as
the cache keeps files; page: cached for minutes; git: a fetch of given commits is cached; pass: never cached."""

GITHUB_HOSTS = ("github.com", "raw.githubusercontent.com", "codeload.github.com")
INDEX_FILE_HOSTS = ("files.pythonhosted.org", "download-r2.pytorch.org")
"""Hosts of the files that pypi.org's and download.pytorch.org's pages list; links to them are rewritten."""

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
"""Treatment of paths by kind of upstream; the first pattern that matches applies."""

MODEL_FILES = r"^/(models|embeddings)/.+\.(safetensors|ckpt|pt|pth|bin)$"


@dataclass(frozen=True)
class Server:
    """One port of the cache."""

    name: str
    port: int
    homes: tuple[str, ...]
    """Upstreams of a request, in order: scheme, host and path prefix in nginx's syntax."""
    tokens: tuple[str, ...] = ()
    """For each of `homes`, nginx's value of the header with the token; "" where no token may be sent."""
    header: str = ""
    """That header; empty for kinds without a token."""
    hosts: str = ""
    """Pattern of the hosts that are allowed in paths of the form /https://HOST/PATH; empty for plain paths."""

    @property
    def locations(self) -> tuple[tuple[str, Treatment], ...]:
        """Patterns of paths and their treatment."""
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
    """The URL of a request in nginx's syntax, for each mirror with the same paths as the first."""
    if kind == "github":
        return tuple(
            "https://$named" if mirror == GITHUB else f"{mirror}$request_uri" for mirror in of_files(tuple(mirrors))
        )
    path = urlsplit(mirrors[0]).path
    return tuple(f"{mirror.removesuffix(path) if path else mirror}$request_uri" for mirror in _alike(mirrors))


def _alike(mirrors: Sequence[str]) -> list[str]:
    """The mirrors that have the same paths as the first."""
    return [mirror for mirror in mirrors if urlsplit(mirror).path == urlsplit(mirrors[0]).path]


def _logins(kind: str, mirrors: Sequence[str], held: bool, tokens_to: Collection[str]) -> tuple[tuple[str, ...], str]:
    """For each mirror the value of the header with the token (`Server.tokens`), and the header's name.

    A mirror that may not see tokens gets neither the cache's nor one that a host of the fleet sent.
    """
    if not (service := service_of(kind)):
        return (), ""
    own = f"$http_{service.header.lower()}"
    shown = f"${variable(service)}" if held else own
    return tuple(shown if may_see(mirror, service, tokens_to) else "" for mirror in mirrors), service.header


def variable(service: TokenService) -> str:
    """nginx's variable with the cache's token, or the client's own if it sent one."""
    return f"{service.endpoints}_{service.header.lower()}"


def nameservers(resolv_conf: str) -> tuple[str, ...]:
    """The DNS servers of a host in nginx's syntax; nginx does not read /etc/resolv.conf itself."""
    found = re.findall(r"^nameserver\s+([0-9A-Fa-f.:]+)", resolv_conf, flags=re.MULTILINE)
    return tuple(f"[{address}]" if ":" in address else address for address in found)


def configuration(
    cache: Cache,
    upstreams: Mapping[str, Sequence[str]],
    paths: Paths,
    resolv_conf: str,
    credentials: PurePosixPath,
    tokens_to: Collection[str] = (),
) -> str:
    """nginx.conf of the cache.

    + credentials: the folder in which it may find tokens.conf
    """
    return render(
        "cache/nginx.conf.j2",
        cache=cache,
        folder=paths.http_cache,
        credentials=credentials,
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
