"""The addresses of a file at the fleet's mirrors, each with the token that it may get."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote

from roles.github import GITHUB, of_files, over
from roles.token_services import SERVICES, TokenService, may_see

HOST = "host:"
"""Scheme of sources that are another host of the fleet."""


class ModelMirrors(Protocol):
    """The fleet's mirrors that models use (a protocol, because roles do not import each other)."""

    @property
    def huggingface(self) -> tuple[str, ...]:
        """Hugging Face endpoints, in order."""

    @property
    def modelscope(self) -> tuple[str, ...]:
        """ModelScope endpoints, in order."""

    @property
    def civitai(self) -> tuple[str, ...]:
        """Civitai's hosts, in order."""

    @property
    def github(self) -> tuple[str, ...]:
        """GitHub itself and its proxies, in order."""

    @property
    def hosts(self) -> Mapping[str, str]:
        """Hosts of the fleet that share their models: name -> URL."""

    @property
    def tokens_to(self) -> tuple[str, ...]:
        """Endpoints besides the origins that may be sent a token."""

    @property
    def parallel(self) -> int:
        """How many files a host fetches at a time."""

    @property
    def limit_mb(self) -> float:
        """Bandwidth limit of a host, in MB/s; 0 is none."""


@dataclass(frozen=True)
class Source:
    """An address of a file."""

    url: str
    service: TokenService | None = None
    """The service whose token may be sent to this address; None for none."""

    def headers(self, secrets: Mapping[str, str]) -> dict[str, str]:
        """Headers of the request."""
        return self.service.headers(secrets) if self.service else {}


def addresses(url: str, mirrors: ModelMirrors) -> tuple[Source, ...]:
    """The addresses of the origin's `url`, in order. ValueError for a host that shares no models."""
    if url.startswith(HOST):
        name, _, path = url.removeprefix(HOST).partition("/")
        if name not in mirrors.hosts:
            raise ValueError(
                f"host {name!r} shares no models; put it into the group cache, or set mirrors.hosts.{name}"
            )
        return (Source(f"{mirrors.hosts[name]}/{quote(path)}"),)
    for service in SERVICES:
        if url.startswith(service.origin + "/"):
            path = url.removeprefix(service.origin)
            return tuple(
                Source(end + path, service if may_see(end, service, mirrors.tokens_to) else None)
                for end in getattr(mirrors, service.endpoints)
            )
    if url.startswith(GITHUB + "/"):
        return tuple(Source(over(mirror, url)) for mirror in of_files(mirrors.github))
    return (Source(url),)
