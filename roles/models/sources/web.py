"""HTTP requests to the servers of models: the first mirror that answers is used, tokens go only where they may."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urljoin, urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError

from roles.models.addresses import ModelMirrors, Source, addresses

if TYPE_CHECKING:
    # Slow to import, and only `sdfleet lock` and `models add` need it; it would slow down the engine's start.
    import requests

ANSWER_SECONDS = 30
CONNECT_SECONDS = 10
CHUNK = 1 << 20
TRIES = 3
LONGEST_WAIT_SECONDS = 60
"""A server that asks for a longer wait is skipped."""
LARGEST_JSON = 32_000_000
T = TypeVar("T")
S = TypeVar("S", bound="HubAnswer")


class HubAnswer(BaseModel):
    """The used part of a server's answer; the rest is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class SourceError(ValueError):
    """A source cannot be resolved; the message says why and what to do."""


class UnreachableError(SourceError):
    """No server answers."""


@dataclass(frozen=True)
class Content:
    """Hashes and size of a file."""

    sha256: str
    size: int
    git_id: str
    """git's id of a file with these bytes; "" if the server did not announce the size."""


def _no_hosts(name: str, path: str) -> Content:
    raise SourceError(f"host {name} cannot be asked from here")


@dataclass(frozen=True)
class HubClient:
    """Sends requests to origins through the fleet's mirrors."""

    mirrors: ModelMirrors
    secrets: Mapping[str, str]
    on_host: Callable[[str, str], Content] = _no_hosts
    """Looks up a file of a host of the fleet, by the host's name and the path of a host: source."""
    here: Path = Path()
    """The folder from which relative paths of file: sources start."""

    def head(self, url: str) -> requests.Response:
        """The answer to HEAD, redirects to other hosts not followed."""
        return self._first(url, self._head)

    def json(self, url: str, shape: type[S]) -> S:
        """The JSON at an origin's URL; an answer of another form, or with invalid names, is an error."""

        def ask(source: Source) -> S:
            with self._send("GET", source) as answer:
                text = b"".join(_up_to(answer, LARGEST_JSON + 1))
            if len(text) > LARGEST_JSON:
                raise SourceError(f"answered with more than {LARGEST_JSON} bytes of JSON")
            try:
                return shape.model_validate_json(text)
            except (ValidationError, RecursionError) as error:
                raise SourceError(f"answered with {_what_is_wrong(error)}") from None

        return self._first(url, ask)

    def content(self, url: str) -> Content:
        """Download a file to compute its size and hashes; it is not stored."""
        return self._first(url, self._content)

    def beginning(self, url: str, count: int) -> bytes:
        """The first `count` bytes at an origin's URL, or all if it has fewer."""

        def ask(source: Source) -> bytes:
            with self._send("GET", source) as answer:
                return b"".join(_up_to(answer, count))

        return self._first(url, ask)

    def _first(self, url: str, ask: Callable[[Source], T]) -> T:
        import requests

        reasons, silent = [], True
        for source in addresses(url, self.mirrors):
            host = f"{urlsplit(source.url).scheme}://{urlsplit(source.url).netloc}"
            try:
                return ask(source)
            except SourceError as error:
                silent = False
                reasons.append(f"{host} {error}")
            except requests.RequestException as error:
                reasons.append(f"{host} does not answer ({type(error).__name__})")
        raise (UnreachableError if silent else SourceError)("; ".join(reasons))

    def _head(self, source: Source) -> requests.Response:
        url = source.url
        for _ in range(5):
            answer = self._send("HEAD", Source(url, source.service), follow=False)
            there = urljoin(url, answer.headers.get("Location", url))
            # A token is sent on only to the same scheme, host and port; a redirect out of TLS is not followed at all.
            if not answer.is_redirect or urlsplit(there)[:2] != urlsplit(url)[:2]:
                return answer
            url = there
        raise SourceError("redirects in a circle")

    def _content(self, source: Source) -> Content:
        with self._send("GET", source) as answer:
            promised = answer.headers.get("Content-Length")
            sha256, size = hashlib.sha256(), 0
            git = hashlib.sha1(f"blob {promised}\0".encode(), usedforsecurity=False)
            for block in answer.iter_content(CHUNK):
                sha256.update(block)
                git.update(block)
                size += len(block)
        if promised is not None and int(promised) != size:
            raise SourceError(f"cut the transfer at byte {size} of {promised}")
        return Content(sha256.hexdigest(), size, git.hexdigest() if promised is not None else "")

    def _send(self, method: str, source: Source, *, follow: bool = True) -> requests.Response:
        import requests

        sent = {"Accept-Encoding": "identity", **source.headers(self.secrets)}
        for _ in range(TRIES):
            answer = requests.request(
                method,
                source.url,
                headers=sent,
                timeout=(CONNECT_SECONDS, ANSWER_SECONDS),
                allow_redirects=follow,
                stream=True,
            )
            wait = answer.headers.get("Retry-After", "")
            if answer.status_code not in (429, 503) or not wait.isdigit() or int(wait) > LONGEST_WAIT_SECONDS:
                break
            answer.close()
            time.sleep(int(wait))
        if source.url.startswith("https:") and not answer.url.startswith("https:"):
            raise SourceError("redirects from HTTPS to HTTP, which is not safe")
        if answer.status_code in (401, 403):
            hint = f"set secrets.{source.service.secret}" if source.service else "it wants a login"
            raise SourceError(f"refuses (HTTP {answer.status_code}); {hint}")
        if answer.status_code >= 400:
            raise SourceError(f"answered HTTP {answer.status_code}")
        if answer.headers.get("Content-Type", "").startswith("text/html"):
            raise SourceError("answered with a web page (HTML)")
        return answer


def _what_is_wrong(error: Exception) -> str:
    if not isinstance(error, ValidationError) or error.errors()[0]["type"] == "json_invalid":
        return "something that is not JSON"
    first = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"])) or "its JSON"
    return f"what cannot be right ({place}: {first['msg'].removeprefix('Value error, ')})"


def _up_to(answer: requests.Response, count: int) -> Iterator[bytes]:
    """The answer's first `count` bytes, without waiting for the rest."""
    for block in answer.iter_content(min(count, CHUNK)):
        yield block[:count]
        count -= len(block)
        if count <= 0:
            return
