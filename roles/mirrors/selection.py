"""Chooses a mirror of each list: the first that gives the right kind of answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from roles.facts.answers import Answer
from roles.github import GITHUB, over
from roles.mirrors.config import Mirrors
from roles.mirrors.provider import ORIGINS

GIT_ANSWER = "application/x-git-upload-pack-advertisement"
LOOPBACK = "127.0.0.1"
KINDS = ("github", "huggingface", "pypi", "torch", "apt", "python")


@dataclass(frozen=True)
class Probe:
    """A request, and the test of its answer."""

    url: str
    good: Callable[[Answer], bool]


@dataclass(frozen=True)
class MirrorChoice:
    """The mirror chosen from one list."""

    kind: str
    chosen: str
    dead: tuple[str, ...] = ()
    """Those before the chosen one, which gave no usable answer; all of them if none did."""
    answered: bool = True

    @property
    def sentence(self) -> str:
        """A message; empty if the first mirror answered."""
        if not self.dead:
            return ""
        dead = ", ".join(self.dead)
        if not self.answered:
            return f"mirrors.{self.kind}: none answers from this host ({dead}); going on with {self.chosen}"
        return f"mirrors.{self.kind}: {dead} gives no usable answer, skipped; using {self.chosen}"


def probes(mirrors: Mirrors, repository: str, os_id: str, codename: str) -> dict[str, dict[str, Probe]]:
    """Kind -> candidate -> its probe, for lists that offer a choice.

    + repository: clone URL on github.com that the host will need, and that a proxy must serve
    + os_id, codename: the distribution's, as in /etc/os-release
    """
    found = {}
    for kind in KINDS:
        candidates: tuple[str, ...] = getattr(mirrors, kind)
        if len(candidates) > 1:
            found[kind] = {url: _probe(kind, url, repository, os_id, codename) for url in candidates}
    return found


def choose_mirrors(
    mirrors: Mirrors, found: dict[str, dict[str, Probe]], answers: Mapping[str, Answer]
) -> list[MirrorChoice]:
    """A mirror of each list of `found`; the first one if none answers."""
    choices = []
    for kind, candidates in found.items():
        dead: list[str] = []
        for url, probe in candidates.items():
            if probe.good(answers.get(probe.url, Answer(0))):
                choices.append(MirrorChoice(kind, url, tuple(dead)))
                break
            dead.append(url)
        else:
            choices.append(MirrorChoice(kind, dead[0], tuple(dead), answered=False))
    return choices


def road_probes(kinds: tuple[str, ...], repository: str) -> dict[str, Probe]:
    """Kind -> the probe of its origin, to be made over the provider's proxy."""
    return {kind: _probe(kind, ORIGINS[kind], repository, "", "") for kind in kinds}


def narrowed(mirrors: Mirrors, choices: list[MirrorChoice]) -> Mirrors:
    """The settings with only the chosen mirror in each list."""
    return mirrors.model_copy(update={choice.kind: (choice.chosen,) for choice in choices})


def unprobed(mirrors: Mirrors) -> Mirrors:
    """Settings for a host that cannot probe yet: the first mirror of each list that is not the host itself, since it
    does not run sdfleet's cache yet either."""
    first = {}
    for kind in KINDS:
        candidates: tuple[str, ...] = getattr(mirrors, kind)
        elsewhere = [url for url in candidates if urlsplit(url).hostname != LOOPBACK]
        first[kind] = tuple(elsewhere or candidates)[:1]
    return mirrors.model_copy(update=first)


def _probe(kind: str, url: str, repository: str, os_id: str, codename: str) -> Probe:
    if kind == "github":
        origin = repository if repository.startswith(f"{GITHUB}/") else f"{GITHUB}/git/git.git"
        # A parked domain answers 200 with a page: only git's own content type counts.
        return Probe(
            f"{over(url, origin)}/info/refs?service=git-upload-pack", lambda a: a.content_type.startswith(GIT_ANSWER)
        )
    if kind == "pypi":
        return Probe(f"{url}/pip/", lambda a: a.status == 200)
    if kind == "apt":
        return Probe(f"{url}/{os_id}/dists/{codename}/Release", lambda a: a.status == 200)
    return Probe(f"{url}/", lambda a: 200 <= a.status < 500)
