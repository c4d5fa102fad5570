"""The gateway's login pages, and its answer to nginx whether a request has a session."""

from __future__ import annotations

import base64
import binascii
import contextlib
import html
import re
import socketserver
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from roles.onhost.login_authentication import Authenticator
from roles.onhost.login_guesses import TooMany
from roles.onhost.login_sessions import Sessions

DEVICE = "__Secure-sdfleet-device"
DEVICE_DAYS = 365
LARGEST_FORM = 8192
LARGEST_BODY = 16384
"""nginx passes on no larger one. It is read even if it is refused: who still sends it would get no answer."""
NEXT = re.compile(r"/(?![/\\])[!-~]*")
"""Where a login may lead: a path of this gateway. Browsers take a backslash for a slash."""
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>body{{font:16px sans-serif;max-width:20em;margin:15vh auto}}
input,button{{font:inherit;width:100%;box-sizing:border-box;margin:.3em 0;padding:.4em}}</style>
<h1>{title}</h1>{body}</html>
"""
FORM = """<p>{said}</p><form method="post" action="{path}/sdfleet/login">
<input type="hidden" name="next" value="{next}">
<input name="name" placeholder="name" autocomplete="username" required autofocus>
<input name="password" type="password" placeholder="password" autocomplete="current-password" required>
<button>Log in</button></form>"""
LEAVE = """<form method="post" action="{path}/sdfleet/logout"><button>Log out</button></form>"""


class Handler(BaseHTTPRequestHandler):
    """Answers nginx: /session, and the pages below /sdfleet/."""

    protocol_version = "HTTP/1.0"
    timeout = 30
    server: Server

    def do_GET(self) -> None:
        """A session's name, or a page."""
        path, _, query = self.path.partition("?")
        if path == "/session":
            name = self.server.sessions.name_of(self._cookie(self.server.cookie))
            self._answer(204 if name else 401, "", {"X-Sdfleet-User": name} if name else {})
        elif path == "/sdfleet/logout":
            self._page(200, "Log out", LEAVE.format(path=self.server.path))
        elif path == "/sdfleet/login":
            wanted = query[len("next=") :] if query.startswith("next=") else "/"
            given = self._basic()
            if given:
                self._enter(*given, wanted)
            else:
                self._form(200, "", wanted)
        else:
            self._answer(404, "")

    def do_POST(self) -> None:
        """A login or a logout."""
        path = self.path.partition("?")[0]
        if path == "/sdfleet/logout":
            self.server.sessions.close(self._cookie(self.server.cookie))
            ended = _cookie(self.server.cookie, "", 0, f"{self.server.path}/")
            self._answer(303, "", {"Location": f"{self.server.path}/sdfleet/login"}, [ended])
            return
        size = int(self.headers.get("Content-Length") or 0)
        if path != "/sdfleet/login" or not 0 <= size <= LARGEST_FORM:
            self.rfile.read(max(0, min(size, LARGEST_BODY)))
            self._answer(404 if path != "/sdfleet/login" else 413, "")
            return
        form = parse_qs(self.rfile.read(size).decode(errors="replace"), keep_blank_values=True)
        name, password, wanted = (form.get(key, [""])[0] for key in ("name", "password", "next"))
        self._enter(name, password, wanted)

    def _enter(self, name: str, password: str, wanted: str) -> None:
        address, device = self.headers.get("X-Real-IP", ""), self._cookie(DEVICE)
        try:
            good = self.server.authenticator.attempt(name, password, address, device)
        except TooMany:
            self._note(address, name, "asked to come again")
            self._form(429, "Too many attempts at once. Try again in a minute.", wanted)
            return
        if not good:
            self._note(address, name, "refused")
            self._form(401, "Wrong name or password.", wanted)
            return
        self._note(address, name, "logged in")
        sessions = self.server.sessions
        seconds = DEVICE_DAYS * 24 * 3600
        known = device if sessions.name_of(device, "device") == name else sessions.open(name, "device", seconds)
        cookies = [
            _cookie(self.server.cookie, sessions.open(name), int(sessions.seconds), f"{self.server.path}/"),
            _cookie(DEVICE, known, seconds, f"{self.server.path}/sdfleet/login"),
        ]
        self._answer(303, "", {"Location": self._within(wanted)}, cookies)

    def _within(self, wanted: str) -> str:
        """Where a login leads: what was wanted, if it is a path of this gateway, below the path that people see."""
        found, path = wanted if NEXT.fullmatch(wanted) else "/", self.server.path
        place, mark, query = found.partition("?")
        if place == path:  # the cookie is sent only to what is below it
            return f"{path}/{mark}{query}"
        return found if found.startswith(f"{path}/") else path + found

    def _note(self, address: str, name: str, what: str) -> None:
        """For the journal; a name that nobody has may be a password in the wrong field."""
        print(f"{address}: {name if name in self.server.authenticator.users else 'an unknown name'} {what}", flush=True)

    def _basic(self) -> tuple[str, str] | None:
        kind, _, given = self.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "basic":
            return None
        try:
            name, colon, password = base64.b64decode(given, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return "", ""
        return (name, password) if colon else ("", "")

    def _cookie(self, name: str) -> str:
        for part in self.headers.get("Cookie", "").split(";"):
            key, _, value = part.strip().partition("=")
            if key == name:
                return value
        return ""

    def _form(self, status: int, said: str, wanted: str) -> None:
        body = FORM.format(said=html.escape(said), next=html.escape(self._within(wanted)), path=self.server.path)
        self._page(status, "Log in", body, {"Retry-After": "60"} if status == 429 else {})

    def _page(self, status: int, title: str, body: str, headers: dict[str, str] | None = None) -> None:
        self._answer(status, PAGE.format(title=title, body=body), headers or {})

    def _answer(
        self, status: int, body: str, headers: dict[str, str] | None = None, cookies: list[str] | None = None
    ) -> None:
        data = body.encode()
        self.send_response_only(status)
        policy = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"
        plain = {
            "Content-Type": "text/html; charset=utf-8",
            "Cache-Control": "no-store",
            "Content-Security-Policy": policy,
        }
        for key, value in {**plain, "Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(key, value)
        for cookie in cookies or ():
            self.send_header("Set-Cookie", cookie)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """nginx keeps the log."""


def session_cookie(path: str) -> str:
    """The name of the session's cookie: browsers hold that of __Host- to this very host, but only without a path."""
    return "__Secure-sdfleet" if path else "__Host-sdfleet"


def _cookie(name: str, value: str, seconds: int, path: str) -> str:
    return f"{name}={value}; Path={path}; Max-Age={seconds}; Secure; HttpOnly; SameSite=Lax"


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """One thread a request."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self, place: Path, users: dict[str, str], hours: float, attempts: int, path: str = "") -> None:
        self.path, self.cookie = path, session_cookie(path)
        self.sessions = Sessions(place.with_name("sessions.json"), users, hours * 3600)
        self.authenticator = Authenticator(users, self.sessions, attempts)
        with contextlib.suppress(FileNotFoundError):
            place.unlink()
        super().__init__(str(place), Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is no fault; all else goes to the journal in a line."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            print(f"an answer failed: {type(error).__name__}: {error}"[:300], flush=True)
