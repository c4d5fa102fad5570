"""The proxy that a rented container's provider offers: one more road to GitHub and Hugging Face, and only there."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from roles.facts.seen import HostSurvey
from roles.github import GITHUB
from roles.mirrors.config import AUTO, Mirrors
from roles.proxy import is_proxy

FILE = PurePosixPath("/etc/network_turbo")
"""A script that AutoDL's customers source for one shell: it exports http_proxy and https_proxy (autodl.com/docs)."""
ORIGINS = {"github": GITHUB, "huggingface": "https://huggingface.co"}
DOMAINS = {
    "github": ("github.com", "githubusercontent.com", "githubassets.com"),
    "huggingface": ("huggingface.co", "hf.co"),
}
"""Kind -> the domains that its origin and its storage have, with their subdomains."""
ASSIGNED = re.compile(r"""(?:^|[\s;&])(https?_proxy)=(["']?)([^\s;&"'$`\\]+)\2(?=$|[\s;&])""", re.IGNORECASE)


@dataclass(frozen=True)
class Road:
    """The provider's proxy, and for which kinds of mirrors it is used."""

    proxy: str = ""
    kinds: tuple[str, ...] = ()

    @property
    def domains(self) -> tuple[str, ...]:
        """The domains that are reached over it."""
        return tuple(domain for kind in self.kinds for domain in DOMAINS[kind])

    def leads_to(self, kind: str) -> bool:
        return kind in self.kinds


NO_ROAD = Road()


def offered(mirrors: Mirrors, seen: HostSurvey) -> str:
    """The URL of the provider's proxy; empty for none.

    + seen: a survey that has FILE among its texts
    """
    if mirrors.provider_proxy != AUTO:
        return mirrors.provider_proxy
    entry = seen.entry(FILE)
    # What others can write is not the provider's word.
    if entry is None or entry.kind != "f" or entry.owner != "root" or entry.mode & 0o022:
        return ""
    return assigned(seen.text(FILE) or "")


def assigned(script: str) -> str:
    """The one proxy that a shell script assigns, https_proxy before http_proxy; empty if it is not plain to see.

    The script is never run: it is root's, but what else it does is not known.
    """
    found: dict[str, set[str]] = {}
    for line in script.splitlines():
        if not line.lstrip().startswith("#"):
            for name, _, value in ASSIGNED.findall(line):
                found.setdefault(name.lower(), set()).add(value)
    for name in ("https_proxy", "http_proxy"):
        if len(values := found.get(name, set())) == 1:
            try:
                return is_proxy(values.pop())
            except ValueError:
                return ""
    return ""


def kinds_of(mirrors: Mirrors) -> tuple[str, ...]:
    """The lists that name the origin, unless a mirror of one's own network (plain HTTP, as the cache) is first."""
    lists = {kind: getattr(mirrors, kind) for kind in ORIGINS}
    return tuple(kind for kind, urls in lists.items() if ORIGINS[kind] in urls and not urls[0].startswith("http://"))


def over(road: Road, mirrors: Mirrors) -> Mirrors:
    """The settings with the origin alone where the road leads to it."""
    return mirrors.model_copy(update={kind: (ORIGINS[kind],) for kind in road.kinds})
