"""HTTP for large files: redirects never send a secret to another host, and answers are checked before they are used."""

import email.utils
import http.client
import json
import re
import ssl
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from email.message import Message
from typing import IO, Any
from urllib.parse import urlsplit

from .manifest import File, Source

SILENCE_SECONDS = 60
"""How long a server may send nothing before the transfer counts as failed."""
SHOWN = 160
"""Characters of an error page that are quoted."""
WEB_PAGE = (b"<!doctype html", b"<html", b"<?xml")
SECRET_HEADERS = ("authorization", "cookie")
PROXY_LOGIN = "proxy-authorization"


class Fault(Exception):
    """Why one source did not deliver; the text goes after the source's name in a message."""

    def __init__(self, reason: str, *, final: bool = True, wait: float | None = None) -> None:
        super().__init__(reason)
        self.final = final
        """Whether another attempt at this source is pointless."""
        self.wait = wait
        """Seconds to wait before another attempt, if the server said so."""


class _SameHostSecrets(urllib.request.HTTPRedirectHandler):
    """Follow redirects, dropping secret headers when the host, port or scheme changes, and never out of TLS."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise Fault(f"redirects from HTTPS to {origin(newurl)}, which is not safe")
        # Python before 3.11 does not know 308, which means for GET what 307 means.
        known = 307 if code == 308 else code
        new = super().redirect_request(req, fp, known, msg, headers, newurl)  # type: ignore[arg-type]
        if new is not None:
            new.road = getattr(req, "road", None)  # type: ignore[attr-defined]
            # The proxy's login is added again if the new address uses the proxy too.
            gone = (PROXY_LOGIN, *(SECRET_HEADERS if origin(new.full_url) != origin(req.full_url) else ()))
            for name in [name for name in new.headers if name.lower() in gone]:
                new.remove_header(name)
        return new

    http_error_308 = urllib.request.HTTPRedirectHandler.http_error_302


class _OverRoad(urllib.request.BaseHandler):
    """Sends a request over its source's own proxy, and one after a redirect too if the proxy is for that domain."""

    handler_order = 90  # before urllib's own handlers, which open the connection

    def https_open(self, req: urllib.request.Request) -> None:
        """Set the proxy and leave the rest to the next handler."""
        road = getattr(req, "road", None)
        if road and road.leads_to(req.full_url):
            req.set_proxy(road.place, "http")


_opener = urllib.request.build_opener(_SameHostSecrets, _OverRoad)


def origin(url: str) -> str:
    """Scheme, host and port of a URL: the printable part, since paths and queries can contain secrets."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}"


@dataclass
class Answer:
    """An answer whose body may be read."""

    body: http.client.HTTPResponse
    offset: int
    """Position in the file of the body's first byte."""
    size: int | None
    """Size of the whole file, if the server says so."""
    host: str
    """Where the bytes really come from, after redirects."""
    cached: bool = False
    """Whether the answer came from a cache."""


def request_file(source: Source, file: File, offset: int, *, fresh: bool = False) -> Answer | None:
    """Request a file from `offset` on; None if the source says that the file ends there.

    `fresh` bypasses caches. Raises Fault with the reason for every answer that is not a model.
    """
    headers = {"User-Agent": "sdfleet-fetch", "Accept-Encoding": "identity", **source.headers}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    if fresh:
        headers["Cache-Control"] = "no-cache"
    request = urllib.request.Request(source.url, headers=headers)
    request.road = source.road  # type: ignore[attr-defined]
    try:
        response: http.client.HTTPResponse = _opener.open(request, timeout=SILENCE_SECONDS)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and _total(error.headers.get("Content-Range")) == offset:
                return None
            raise _refusal(error, redirected=origin(error.url or source.url) != origin(source.url)) from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise Fault(f"has no valid TLS certificate ({error.reason.verify_message})") from None
        raise Fault(f"does not answer ({_in_words(error.reason)})", final=False) from None
    except (OSError, http.client.HTTPException) as error:
        raise Fault(f"does not answer ({_in_words(error)})", final=False) from None
    try:
        return _judge(response, file, offset)
    except Fault:
        response.close()
        raise


def is_web_page(beginning: bytes) -> bool:
    """Whether a file with this beginning is an HTML or XML page, whatever its headers say."""
    return beginning.lstrip()[:15].lower().startswith(WEB_PAGE)


def _judge(response: http.client.HTTPResponse, file: File, offset: int) -> Answer:
    """Check by status and headers that the answer can be the file."""
    kind = (response.headers.get_content_type() or "").lower()
    if kind == "text/html":
        raise Fault("answered with a web page (HTML) instead of the model")
    if kind == "application/json" and not file.text:
        raise Fault(f"answered with JSON instead of the model: {_excerpt(response)}")
    if (coding := response.headers.get("Content-Encoding", "identity")) != "identity":
        raise Fault(f"sends the file in {coding} coding although that was not asked for")
    start, size = 0, _number(response.headers.get("Content-Length"))
    if response.status == 206:
        content_range = response.headers.get("Content-Range", "")
        start, size = _start(content_range), _total(content_range)
        if start != offset:
            raise Fault(f"was asked for bytes from {offset} on and sends them from {start} on")
    if size is not None and file.size is not None and size != file.size:
        if not start and is_web_page(response.read(SHOWN)):
            raise Fault("answered with a web page (HTML) instead of the model")
        raise Fault(f"has a file of {size} bytes, not of {file.size}")
    cached = response.headers.get("X-Cache-Status") is not None
    return Answer(response, start, size, origin(response.url), cached)


def _refusal(error: urllib.error.HTTPError, *, redirected: bool) -> Fault:
    """An HTTP error status as a reason; only some are worth another attempt."""
    if error.code in (401, 403) and not redirected:
        return Fault(f"refuses (HTTP {error.code}): it wants a login, or the token in [secrets] may not read this file")
    if error.code in (401, 403):
        # A signed address of a storage host that expired: asking the source again gives a fresh one.
        return Fault(f"redirects to {origin(error.url)}, which refuses (HTTP {error.code})", final=False)
    if error.code in (404, 410):
        return Fault(f"does not have the file (HTTP {error.code})")
    if error.code in (429, 503):
        wait = _retry_after(error.headers.get("Retry-After"))
        said = f", asks to wait {wait:.0f} s" if wait is not None else ""
        return Fault(f"is asked too often or overloaded (HTTP {error.code}{said})", final=False, wait=wait)
    if error.code == 416:
        return Fault("has a shorter file than the part that is already here")
    return Fault(f"answered HTTP {error.code}", final=error.code < 500)


def _retry_after(value: str | None) -> float | None:
    """Seconds in a Retry-After header (RFC 9110, 10.2.3): a number, or a date."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def _start(content_range: str) -> int:
    found = re.match(r"bytes (\d+)-", content_range)
    return int(found[1]) if found else -1


def _total(content_range: str | None) -> int | None:
    found = re.search(r"/(\d+)$", content_range or "")
    return int(found[1]) if found else None


def _number(value: str | None) -> int | None:
    return int(value) if value and value.isdigit() else None


def _excerpt(response: http.client.HTTPResponse) -> str:
    text = response.read(4096).decode("utf-8", "replace")
    try:
        found: Any = json.loads(text)
        text = str(found.get("message") or found.get("error") or text) if isinstance(found, dict) else text
    except ValueError:
        pass
    return " ".join(text.split())[:SHOWN]


def _in_words(error: object) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
