"""Who may ask: a page of another origin gets 403, but only where the server is asked as the loopback."""

import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def middleware(allowed: str | None) -> Any:
    """The check of Host and Origin; with an `allowed` origin only headers that say so, as ComfyUI does."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        host, origin = request.headers.get("Host"), request.headers.get("Origin")
        if allowed is None and host and origin and _differ(host, origin):
            logging.warning("WARNING: request with non matching host and origin %s != %s, returning 403", host, origin)
            return web.Response(status=403)
        answer = web.Response() if request.method == "OPTIONS" else await handler(request)
        if allowed is not None:
            answer.headers["Access-Control-Allow-Origin"] = allowed
        return answer

    return check


def _differ(host: str, origin: str) -> bool:
    asked, page = urlsplit(f"//{host.lower()}"), urlsplit(origin.lower())
    if not _is_loopback(asked.hostname):
        return False
    # A port that only one of them names is not compared.
    ours = asked.hostname if page.port is None else asked.netloc
    theirs = page.hostname if asked.port is None else page.netloc
    return bool(ours and theirs) and ours != theirs


def _is_loopback(name: str | None) -> bool:
    if name is None:
        return False
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return all(ipaddress.ip_address(entry[4][0]).is_loopback for entry in found)
