"""Which answer a lock accepts for a name that it looks up: the origin's, or one that two mirrors agree on."""

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
from roles.token_services import service_of

T = TypeVar("T")
KINDS = {"hf": "huggingface", "modelscope": "modelscope", "civitai": "civitai"}
"""Scheme of a source -> its list in [mirrors]."""


class DisagreementError(SdfleetError):
    """Two mirrors give different answers for one name."""


@dataclass(frozen=True)
class Endpoints:
    """The servers that can be asked about one name."""

    kind: str
    """The list in [mirrors]; "" if only the origin can be asked."""
    urls: tuple[str, ...]
    origins: tuple[str, ...]

    def over(self, mirrors: Mirrors, endpoint: str) -> Mirrors:
        """`mirrors` with `endpoint` as the only one of this kind."""
        return mirrors.model_copy(update={self.kind: (endpoint,)}) if self.kind else mirrors

    def without(self, endpoints: Collection[str]) -> "Endpoints":
        """Without those in `endpoints`; all of them if none would be left."""
        left = tuple(end for end in self.urls if end not in endpoints)
        return Endpoints(self.kind, left or self.urls, self.origins)

    def doubtful(self, asked: Collection[str]) -> Collection[str]:
        """Mirrors that answered before: another one must confirm them. The origin may be asked twice."""
        return set(asked) - set(self.origins)

    def confirmed(self, by: Collection[str], asked: Collection[str]) -> bool:
        """Whether an answer that `by` repeat is more than what those who were `asked` before said already."""
        return not self.kind or bool(set(by) & set(self.origins)) or not set(by) <= set(asked)


NOT_CONFIRMED = "says the same as before; no other mirror answered, so nothing confirms it"


def endpoints_of_url(url: str, mirrors: Mirrors) -> Endpoints:
    """For a git repository, or a file on GitHub or any other server."""
    if url.startswith(f"{GITHUB}/"):
        return Endpoints("github", mirrors.github, (GITHUB,))
    return Endpoints("", (_place(url),), (_place(url),))


def endpoints_of_model(model: Model, host: HostSettings) -> Endpoints:
    """For a model's source; none for a file on the controller or on a host of the fleet."""
    scheme = model.source.partition(":")[0]
    if kind := KINDS.get(scheme):
        service = service_of(kind)
        assert service is not None
        return Endpoints(kind, getattr(host.direct, kind), (service.origin, *service.own))
    if scheme not in ("http", "https"):
        return Endpoints("", ("",), ("",))
    return endpoints_of_url(model.source, host.direct)


def _place(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}" + (f":{parts.port}" if parts.port else "")


@dataclass
class Witnesses:
    """Asks servers, and remembers which ones did not answer: a blocked link costs one timeout."""

    silent: set[str] = field(default_factory=set)

    def ask(self, endpoints: Endpoints, ask: Callable[[str], T]) -> tuple[T, tuple[str, ...]]:
        """The answer for a name, and who gave it: the origin, else two mirrors that agree, else the only server.

        + ask: asks one server; raises SdfleetError or ValueError if it does not know
        Raises DisagreementError, or SdfleetError with each server's reason.
        """
        reasons: list[str] = []
        first: tuple[T, str] | None = None
        for endpoint in in_order(endpoints):
            if endpoint in self.silent:
                reasons.append(f"{endpoint} did not answer before")
                continue
            try:
                found = ask(endpoint)
            except (SdfleetError, ValueError) as error:
                if isinstance(error, UnreachableError):
                    self.silent.add(endpoint)
                reasons.append(str(error))
                continue
            if endpoint in endpoints.origins:
                return found, tuple(filter(None, (endpoint,)))
            if first is None:
                first = found, endpoint
            elif found == first[0]:
                return found, (first[1], endpoint)
            else:
                raise DisagreementError(
                    f"{first[1]} and {endpoint} disagree; ask the origin, or remove the wrong one from [mirrors]"
                )
        if first is None:
            raise SdfleetError("; ".join(reasons))
        return first[0], (first[1],)


def in_order(endpoints: Endpoints) -> list[str]:
    """The URLs, the origin's first."""
    return sorted(dict.fromkeys(endpoints.urls), key=lambda endpoint: endpoint not in endpoints.origins)


def confirmation(asked: Collection[str], endpoints: Endpoints, verify: str = "sdfleet lock --verify") -> str:
    """Who answered, for a person; "" if there was only one server to ask.

    + verify: the command that asks again
    """
    if not endpoints.kind or not asked:
        return ""
    if set(asked) & set(endpoints.origins):
        return f"{', '.join(asked)} (its origin) says so"
    if len(asked) > 1:
        return f"{' and '.join(asked)} agree"
    return (
        f"only the mirror {', '.join(asked)} answered, so nothing confirms it; "
        f"`{verify}` asks again through other mirrors"
    )
