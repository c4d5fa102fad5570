"""Whose word a lock takes for what is looked up the first time: the origin's, or that of two roads which agree."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urlsplit

from inventory.errors import SdfleetError
from inventory.model import HostSettings
from roles.github import GITHUB
from roles.mirrors.config import Mirrors
from roles.models.config import Model
from roles.models.sources.web import UnreachableError
from roles.secrecy import service_of

T = TypeVar("T")
KINDS = {"hf": "huggingface", "modelscope": "modelscope", "civitai": "civitai"}
"""Scheme of a source -> the list of mirrors that leads there."""


class DisagreementError(SdfleetError):
    """Two roads say different things of one name."""


@dataclass(frozen=True)
class Roads:
    """The ways to ask about one name."""

    kind: str
    """The list of [mirrors]; "" if there is one way alone, which is the origin's own."""
    endpoints: tuple[str, ...]
    origins: tuple[str, ...]

    def over(self, mirrors: Mirrors, endpoint: str) -> Mirrors:
        """The mirrors with this one road of them."""
        return mirrors.model_copy(update={self.kind: (endpoint,)}) if self.kind else mirrors

    def without(self, endpoints: Collection[str]) -> "Roads":
        """The roads that are left; all if none is."""
        left = tuple(end for end in self.endpoints if end not in endpoints)
        return Roads(self.kind, left or self.endpoints, self.origins)


def to_url(url: str, mirrors: Mirrors) -> Roads:
    """The roads to a git repository, or to a file of GitHub's or of any other server's."""
    if url.startswith(f"{GITHUB}/"):
        return Roads("github", mirrors.github, (GITHUB,))
    return Roads("", (_place(url),), (_place(url),))


def to_model(model: Model, host: HostSettings) -> Roads:
    """The roads to a model's source; none for what lies on the controller or on a host of the fleet."""
    scheme = model.source.partition(":")[0]
    if kind := KINDS.get(scheme):
        service = service_of(kind)
        assert service is not None
        return Roads(kind, getattr(host.direct, kind), (service.origin, *service.own))
    if scheme not in ("http", "https"):
        return Roads("", ("",), ("",))
    return to_url(model.source, host.direct)


def _place(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}" + (f":{parts.port}" if parts.port else "")


@dataclass
class Witnesses:
    """Asks over roads, and remembers which of them are shut: a blocked link costs its waiting time once."""

    shut: set[str] = field(default_factory=set)

    def ask(self, roads: Roads, ask: Callable[[str], T]) -> tuple[T, tuple[str, ...]]:
        """What a name stands for, and who says so: the origin, else two roads that agree, else the one that answers.

        + ask: asks over one endpoint; SdfleetError or ValueError if it does not know
        Raises DisagreementError, or SdfleetError with what each road said.
        """
        reasons: list[str] = []
        first: tuple[T, str] | None = None
        for endpoint in in_order(roads):
            if endpoint in self.shut:
                reasons.append(f"{endpoint} did not answer before")
                continue
            try:
                found = ask(endpoint)
            except (SdfleetError, ValueError) as error:
                if isinstance(error, UnreachableError):
                    self.shut.add(endpoint)
                reasons.append(str(error))
                continue
            if endpoint in roads.origins:
                return found, tuple(filter(None, (endpoint,)))
            if first is None:
                first = found, endpoint
            elif found == first[0]:
                return found, (first[1], endpoint)
            else:
                raise DisagreementError(
                    f"{first[1]} and {endpoint} say different things of it; ask the origin, or take the wrong one "
                    "out of [mirrors]"
                )
        if first is None:
            raise SdfleetError("; ".join(reasons))
        return first[0], (first[1],)


def in_order(roads: Roads) -> list[str]:
    """The endpoints, the origin's first."""
    return sorted(dict.fromkeys(roads.endpoints), key=lambda endpoint: endpoint not in roads.origins)


def told_by(asked: Collection[str], roads: Roads, verify: str = "sdfleet lock --verify") -> str:
    """Who answered, for a person; "" where there was one way alone.

    + verify: the command that asks again
    """
    if not roads.kind or not asked:
        return ""
    if set(asked) & set(roads.origins):
        return f"{', '.join(asked)} (its origin) says so"
    if len(asked) > 1:
        return f"{' and '.join(asked)} agree"
    return (
        f"only {', '.join(asked)} answered, a mirror whose word nothing confirms; "
        f"`{verify}` asks again over another road"
    )
