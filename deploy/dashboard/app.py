"""The web part: one page, its events, and pictures of runs. Read-only, for who has the token."""

import asyncio
import hmac
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Protocol
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import templates
from deploy.connection.ssh import HostError
from deploy.dashboard.board import Board, encoded

LOOK_SECONDS = 0.3
"""How often to look whether the board has changed."""
BEAT_SECONDS = 5.0
"""How often a page is told that all is as it was."""
KEPT_BYTES = 48_000_000
"""Pictures that are kept in memory."""
FILES = {
    "": ("page.html", "text/html"),
    "page.css": ("page.css", "text/css"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
    **{name: (name, "text/javascript") for name in ("page.js", "hosts.js", "runs.js", "charts.js", "elements.js")},
}
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
NO_TOKEN = "Open the URL that `sdfleet dashboard` printed; it changes with each start.\n"


class Painted(Protocol):
    """Where pictures come from: a Collector."""

    def sample(self, run: str, key: str) -> tuple[bytes, str]:
        """A picture and its media type. Raises LookupError if there is none, HostError."""


class Guard:
    """Lets nobody in but who has the token, by the names of this machine alone.

    + page: the folder of the page. It is as hard to guess as the token, and the cookie is sent to it alone, as cookies
      know no ports: what another user serves on this machine's loopback must not get it
    """

    def __init__(self, app: ASGIApp, port: int, token: str, page: str) -> None:
        self.app, self.token, self.page = app, token, page
        self.hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        self.cookie = f"sdfleet-dashboard-{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("Cache-Control", "no-store")
                headers.update(HEADERS)
            await send(message)

        answer = self._refusal(scope) or self._entry(scope) or self.app
        await answer(scope, receive, headed)

    def _refusal(self, scope: Scope) -> Response | None:
        """Why a request is not answered at all, whoever sends it."""
        headers = Headers(scope=scope)
        if headers.get("host") not in self.hosts:  # another name may have been made to lead here
            return PlainTextResponse("Unknown name of this machine.\n", 421)
        if (origin := headers.get("origin")) and origin.removeprefix("http://") not in self.hosts:
            return PlainTextResponse("Another page's request.\n", 403)
        if scope["method"] != "GET":
            return PlainTextResponse("This page is read-only.\n", 405, {"Allow": "GET"})
        return None

    def _entry(self, scope: Scope) -> Response | None:
        """The way in with the token, or the answer to who has none; None for who is in."""
        if scope["path"] == "/":
            given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
            if not self._is_token(given):
                return PlainTextResponse(NO_TOKEN, 403)
            answer = RedirectResponse(f"/{self.page}/", 303)
            answer.set_cookie(self.cookie, self.token, path=f"/{self.page}/", httponly=True, samesite="strict")
            return answer
        if not self._is_token(HTTPConnection(scope).cookies.get(self.cookie, "")):
            return PlainTextResponse(NO_TOKEN, 403)
        return None

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), self.token.encode())


def dashboard(
    board: Board, painted: Mapping[str, Painted], ended: Callable[[], bool], *, port: int, token: str, page: str
) -> Guard:
    """The application.

    + painted: by host, where its runs' pictures come from
    + ended: whether it is to end; open pages are let go then
    + port, token, page: see Guard
    """
    pictures = Pictures(painted)

    async def events(request: Request) -> Response:
        last = request.headers.get("last-event-id", "")
        version = int(last) if last.isascii() and last.isdigit() else 0
        return StreamingResponse(stream(board, version, ended), media_type="text/event-stream")

    def sample(request: Request) -> Response:
        try:
            content, kind = pictures.get(*(request.path_params[name] for name in ("host", "run", "key")))
        except LookupError:
            return PlainTextResponse("No such picture.\n", 404)
        except HostError:
            return PlainTextResponse("The picture cannot be fetched.\n", 502)
        return Response(content, media_type=kind, headers={"Cache-Control": "private, max-age=600"})

    def file(name: str) -> Route:
        place, kind = FILES[name]
        content = templates.path(f"dashboard/{place}").read_bytes()
        return Route(f"/{name}", lambda request: Response(content, media_type=kind))

    routes = [Route("/events", events), Route("/samples/{host}/{run}/{key}", sample), *map(file, FILES)]
    return Guard(Starlette(routes=[Mount(f"/{page}", routes=routes)]), port, token, page)


async def stream(board: Board, version: int, ended: Callable[[], bool]) -> AsyncIterator[str]:
    """What is newer than `version`, and from then on what changes, as server-sent events."""
    with board.watched():
        beat = -BEAT_SECONDS
        while not ended():
            items, version = board.since(version)
            for item in items:
                yield f"event: {item.kind}\nid: {item.version}\ndata: {item.text}\n\n"
            if time.monotonic() - beat >= BEAT_SECONDS:
                beat = time.monotonic()
                yield f"event: beat\ndata: {encoded({'now': time.time()})}\n\n"
            await asyncio.sleep(LOOK_SECONDS)


class Pictures:
    """Pictures of runs, the last ones from memory."""

    def __init__(self, painted: Mapping[str, Painted]) -> None:
        self.painted = painted
        self._kept: OrderedDict[tuple[str, str, str], tuple[bytes, str]] = OrderedDict()

    def get(self, host: str, run: str, key: str) -> tuple[bytes, str]:
        """A picture and its media type. Raises LookupError if there is none, HostError."""
        place = host, run, key
        if not (found := self._kept.pop(place, None)):
            found = self.painted[host].sample(run, key)
        self._kept[place] = found
        while sum(len(content) for content, _ in list(self._kept.values())) > KEPT_BYTES:
            self._kept.popitem(last=False)
        return found
