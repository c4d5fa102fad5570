"""From an origin's URL to the addresses it is really asked at: over the fleet's mirrors, each with what it may know."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote

from roles.secrecy import SERVICES, Service, may_see

GITHUB = "https://github.com"
HOST = "host:"
"""Scheme of sources that are another host of the fleet."""


class Roads(Protocol):
    """The fleet's mirrors, as far as models need them (a protocol, because roles don't import each other)."""

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
        """Hosts of the fleet that give their models away: name -> URL."""

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
    """One address of a file."""

    url: str
    service: Service | None = None
    """Whose token may be shown to the address's host; None for nobody's."""

    def headers(self, secrets: Mapping[str, str]) -> dict[str, str]:
        """What to send along."""
        return self.service.headers(secrets) if self.service else {}


def addresses(url: str, roads: Roads) -> tuple[Source, ...]:
    """Where to get what the origin serves at `url`, in order. ValueError for a host that gives nothing away."""
    if url.startswith(HOST):
        name, _, path = url.removeprefix(HOST).partition("/")
        if name not in roads.hosts:
            raise ValueError(
                f"host {name!r} gives no models away; put it into the group cache, or set mirrors.hosts.{name}"
            )
        return (Source(f"{roads.hosts[name]}/{quote(path)}"),)
    for service in SERVICES:
        if url.startswith(service.origin + "/"):
            path = url.removeprefix(service.origin)
            return tuple(
                Source(end + path, service if may_see(end, service, roads.tokens_to) else None)
                for end in getattr(roads, service.endpoints)
            )
    if url.startswith(GITHUB + "/"):
        return tuple(Source(url if mirror == GITHUB else f"{mirror}/{url}") for mirror in roads.github)
    return (Source(url),)
