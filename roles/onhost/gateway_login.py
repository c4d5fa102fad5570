"""The gateway's logins and sessions, with nginx beside them: nginx asks here whether a request has a session.

    gateway_login.py --users FILE --folder FOLDER --hours H --attempts N --nginx CONF

Listens on FOLDER/login.sock. A password is looked at by POST (or HTTP Basic) on /sdfleet/login and nowhere else.
Guesses are slowed for each name and each address, never refused for good: behind the guesses of others the right
password waits for seconds, and from a browser that logged in before it does not wait at all.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import contextlib
import hashlib
import hmac
import html
import json
import os
import re
import secrets
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

COOKIE, DEVICE = "__Host-sdfleet", "__Secure-sdfleet-device"
DEVICE_DAYS = 365
LARGEST_FORM = 8192
HASHING = threading.Semaphore(2)
"""A hash takes 32 MB and a third of a second of a core; guesses must not take all of them."""
WAITING = 5
"""Attempts that wait behind one name or address; those that come later are told to come again."""
MINUTE = 60.0
HOUR = 3600.0
KEYS = 10000
"""Names and addresses that are remembered, before the quiet ones are forgotten."""
NEXT = re.compile(r"/(?![/\\])[!-~]*")
"""Where a login may lead: a path of this gateway. Browsers take a backslash for a slash."""
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>body{{font:16px sans-serif;max-width:20em;margin:15vh auto}}
input,button{{font:inherit;width:100%;box-sizing:border-box;margin:.3em 0;padding:.4em}}</style>
<h1>{title}</h1>{body}</html>
"""
FORM = """<p>{said}</p><form method="post" action="/sdfleet/login"><input type="hidden" name="next" value="{next}">
<input name="name" placeholder="name" autocomplete="username" required autofocus>
<input name="password" type="password" placeholder="password" autocomplete="current-password" required>
<button>Log in</button></form>"""
LEAVE = """<form method="post" action="/sdfleet/logout"><button>Log out</button></form>"""


def matches(password: str, stored: str) -> bool:
    """Whether the password has this hash: scrypt$N$R$P$SALT$HASH, the last two in base64."""
    _, n, r, p, salt, wanted = stored.split("$")
    with HASHING:
        found = hashlib.scrypt(
            password.encode(errors="replace"),
            salt=base64.b64decode(salt),
            n=int(n),
            r=int(r),
            p=int(p),
            maxmem=2 * 128 * int(n) * int(r),
            dklen=32,
        )
    return hmac.compare_digest(found, base64.b64decode(wanted))


def read_users(text: str) -> dict[str, str]:
    """Name -> hash, from lines NAME:HASH."""
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


class Sessions:
    """Who is logged in: only digests of the words that browsers hold are kept, in a file that outlives a restart."""

    def __init__(self, file: Path, users: dict[str, str], seconds: float) -> None:
        self.file, self.users, self.seconds = file, users, seconds
        self._lock = threading.Lock()
        self._known: dict[str, dict[str, Any]] = {}
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            entries = json.loads(file.read_text())
            self._known = {key: entry for key, entry in entries.items() if self._holds(entry)}

    def open(self, name: str, kind: str = "session", seconds: float | None = None) -> str:
        """A new word for `name`; each login has one of its own."""
        word = secrets.token_urlsafe(32)
        until = time.time() + (self.seconds if seconds is None else seconds)
        entry = {"name": name, "kind": kind, "until": until, "of": _digest(self.users[name])}
        with self._lock:
            self._known = {key: entry for key, entry in self._known.items() if self._holds(entry)}
            self._known[_digest(word)] = entry
            self._save()
        return word

    def name_of(self, word: str, kind: str = "session") -> str:
        """Whose word it is; empty if it is none, has expired, or the login or its password is another by now."""
        entry = self._known.get(_digest(word)) if word else None
        return str(entry["name"]) if entry and entry["kind"] == kind and self._holds(entry) else ""

    def close(self, word: str) -> None:
        """Forget a word."""
        with self._lock:
            if self._known.pop(_digest(word), None):
                self._save()

    def _holds(self, entry: dict[str, Any]) -> bool:
        stored = self.users.get(entry["name"])
        return stored is not None and entry["until"] > time.time() and entry["of"] == _digest(stored)

    def _save(self) -> None:
        fresh = self.file.with_name(f".{self.file.name}.new")
        fresh.write_text(json.dumps(self._known))
        fresh.replace(self.file)


def _digest(word: str) -> str:
    return hashlib.sha256(word.encode()).hexdigest()


class TooMany(Exception):
    """Others wait already; the text says nothing, the answer asks to come again."""


class Guesses:
    """Attempts by name and by address, the right ones forgiven: beyond so many a minute, each waits in a slow lane."""

    def __init__(self, a_minute: int) -> None:
        self.a_minute, self.pause = a_minute, MINUTE / a_minute / 2
        self._lock = threading.Lock()
        self._failed: dict[str, list[float]] = {}
        self._lanes: dict[str, threading.Lock] = {}
        self._waiting: dict[str, int] = {}
        self._wrong: dict[str, list[float]] = {}
        """Address -> when its last attempts of this hour began, the right ones taken out."""

    def is_new(self, address: str, at: float) -> bool:
        """Whether an address has made no wrong attempt this hour; from now on it has, until `clear` is told otherwise.

        Told at the beginning, or many attempts at once would all be the first.
        """
        with self._lock:
            recent = [began for began in self._wrong.get(address, ()) if at - began < HOUR]
            self._wrong[address] = [*recent[-1:], at]
            if len(self._wrong) > KEYS:
                self._wrong = dict(sorted(self._wrong.items(), key=lambda item: item[1][-1])[KEYS // 2 :])
            return not recent

    def clear(self, address: str, at: float) -> None:
        """The attempt of an address that began `at` was right, or none."""
        with self._lock:
            kept = [began for began in self._wrong.pop(address, []) if began != at]
            if kept:
                self._wrong[address] = kept

    def forgive(self, keys: list[str], at: float) -> None:
        """The attempt that began `at` had the right password."""
        with self._lock:
            for key in keys:
                with contextlib.suppress(ValueError):
                    self._failed.get(key, []).remove(at)

    def _recent(self, key: str, now: float) -> list[float]:
        return [at for at in self._failed.get(key, ()) if now - at < MINUTE]

    @contextlib.contextmanager
    def turn(self, keys: list[str]) -> Iterator[float]:
        """When an attempt begins, after it has waited for what guesses before it cost; it counts as one from there on.

        TooMany if as many wait already as may.
        """
        now = time.monotonic()
        with self._lock:
            slow = [key for key in sorted(keys) if len(self._recent(key, now)) >= self.a_minute]
            if any(self._waiting.get(key, 0) >= WAITING for key in slow):
                raise TooMany
            for key in keys:
                self._failed[key] = [*self._recent(key, now), now]
            if len(self._failed) > KEYS:
                self._failed = {key: times for key in self._failed if (times := self._recent(key, now))}
            for key in slow:
                self._waiting[key] = self._waiting.get(key, 0) + 1
            lanes = [self._lanes.setdefault(key, threading.Lock()) for key in slow]
        try:
            with contextlib.ExitStack() as held:
                for lane in lanes:
                    held.enter_context(lane)
                if lanes:
                    time.sleep(self.pause)
                yield now
        finally:
            with self._lock:
                for key in slow:
                    self._waiting[key] -= 1
                    if not self._waiting[key]:
                        del self._waiting[key], self._lanes[key]


class Door:
    """Decides who comes in."""

    def __init__(self, users: dict[str, str], sessions: Sessions, a_minute: int) -> None:
        self.users, self.sessions, self.guesses = users, sessions, Guesses(a_minute)
        # A name that nobody has costs the same hash as one that somebody has.
        some = next(iter(users.values())).rsplit("$", 2)[0]
        self._nobody = (
            f"{some}${base64.b64encode(secrets.token_bytes(16)).decode()}${base64.b64encode(bytes(32)).decode()}"
        )

    def attempt(self, name: str, password: str, address: str, device: str) -> bool:
        """Whether name and password belong together. Raises TooMany."""
        if self.sessions.name_of(device, "device") == name:
            # A browser that logged in before: what others guess is nothing to it, and its own guesses count apart.
            return self._matches(name, password, [f"device {_digest(device)}"])
        where, now = network(address), time.monotonic()
        # Who has guessed wrongly waits apart for a name, or a few addresses could keep its owner out.
        known = "new" if self.guesses.is_new(where, now) else "known"
        try:
            good = self._matches(name, password, [f"name {known} {name[:64]}", f"address {where}"])
        except TooMany:  # it was no guess
            self.guesses.clear(where, now)
            raise
        if good:
            self.guesses.clear(where, now)
        return good

    def _matches(self, name: str, password: str, keys: list[str]) -> bool:
        with self.guesses.turn(keys) as began:
            good = matches(password, self.users.get(name, self._nobody)) and name in self.users
            if good:
                self.guesses.forgive(keys, began)
        return good


def network(address: str) -> str:
    """What counts as one address: of IPv6, the /64 that a customer gets."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    return str(ip_network(f"{found}/64", strict=False)) if found.version == 6 else str(found)


class Handler(BaseHTTPRequestHandler):
    """Answers nginx: /session, and the pages below /sdfleet/."""

    protocol_version = "HTTP/1.0"
    timeout = 30
    server: Server

    def do_GET(self) -> None:
        """A session's name, or a page."""
        path, _, query = self.path.partition("?")
        if path == "/session":
            name = self.server.sessions.name_of(self._cookie(COOKIE))
            self._answer(204 if name else 401, "", {"X-Sdfleet-User": name} if name else {})
        elif path == "/sdfleet/logout":
            self._page(200, "Log out", LEAVE)
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
            self.server.sessions.close(self._cookie(COOKIE))
            self._answer(303, "", {"Location": "/sdfleet/login"}, [_cookie(COOKIE, "", 0, "/")])
            return
        size = int(self.headers.get("Content-Length") or 0)
        if path != "/sdfleet/login" or not 0 <= size <= LARGEST_FORM:
            self._answer(404 if path != "/sdfleet/login" else 413, "")
            return
        form = parse_qs(self.rfile.read(size).decode(errors="replace"), keep_blank_values=True)
        name, password, wanted = (form.get(key, [""])[0] for key in ("name", "password", "next"))
        self._enter(name, password, wanted)

    def _enter(self, name: str, password: str, wanted: str) -> None:
        address, device = self.headers.get("X-Real-IP", ""), self._cookie(DEVICE)
        try:
            good = self.server.door.attempt(name, password, address, device)
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
            _cookie(COOKIE, sessions.open(name), int(sessions.seconds), "/"),
            _cookie(DEVICE, known, seconds, "/sdfleet/login"),
        ]
        self._answer(303, "", {"Location": wanted if NEXT.fullmatch(wanted) else "/"}, cookies)

    def _note(self, address: str, name: str, what: str) -> None:
        """For the journal; a name that nobody has may be a password in the wrong field."""
        print(f"{address}: {name if name in self.server.door.users else 'an unknown name'} {what}", flush=True)

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
        body = FORM.format(said=html.escape(said), next=html.escape(wanted if NEXT.fullmatch(wanted) else "/"))
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


def _cookie(name: str, value: str, seconds: int, path: str) -> str:
    return f"{name}={value}; Path={path}; Max-Age={seconds}; Secure; HttpOnly; SameSite=Lax"


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """One thread a request."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self, place: Path, users: dict[str, str], hours: float, attempts: int) -> None:
        self.sessions = Sessions(place.with_name("sessions.json"), users, hours * 3600)
        self.door = Door(users, self.sessions, attempts)
        with contextlib.suppress(FileNotFoundError):
            place.unlink()
        super().__init__(str(place), Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is no fault; all else goes to the journal in a line."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            print(f"an answer failed: {type(error).__name__}: {error}"[:300], flush=True)


def run_nginx(conf: str, pid_file: Path) -> int:
    """Start nginx, tell systemd when its ports are open, and end with it."""
    with contextlib.suppress(FileNotFoundError):
        pid_file.unlink()
    nginx = subprocess.Popen(["/usr/sbin/nginx", "-c", conf, "-g", "daemon off;"])
    for number in (signal.SIGQUIT, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: nginx.send_signal(signal.SIGQUIT))
    # nginx writes this file when it has opened its ports.
    while nginx.poll() is None and not pid_file.exists():
        time.sleep(0.02)
    if nginx.poll() is None and (place := os.environ.get("NOTIFY_SOCKET")):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.connect("\0" + place[1:] if place.startswith("@") else place)
            told.send(b"READY=1")
    return nginx.wait()


def main() -> None:
    """Serve until nginx ends; its exit status is ours."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=Path, required=True, help="file with lines NAME:HASH")
    parser.add_argument("--folder", type=Path, required=True, help="folder for the socket, sessions and nginx.pid")
    parser.add_argument("--hours", type=float, required=True, help="how long a session lasts")
    parser.add_argument("--attempts", type=int, required=True, help="wrong passwords a minute before it gets slow")
    parser.add_argument("--nginx", required=True, help="nginx's configuration")
    options = parser.parse_args()
    os.umask(0o077)
    users = read_users(options.users.read_text())
    with Server(options.folder / "login.sock", users, options.hours, options.attempts) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sys.exit(run_nginx(options.nginx, options.folder / "nginx.pid"))


if __name__ == "__main__":
    main()
