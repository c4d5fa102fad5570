"""Who comes in at the gateway: passwords and their hashes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import threading
import time

from roles.onhost.login_guesses import Guesses, TooMany, network
from roles.onhost.login_sessions import Sessions, digest

HASHING = threading.Semaphore(2)
"""A hash takes 32 MB and a third of a second of a core; guesses must not take all of them."""


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


class Authenticator:
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
            return self._matches(name, password, [f"device {digest(device)}"])
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
