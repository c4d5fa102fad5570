"""Who may come in: people's passwords as hashes, and the secret that each one's session cookie holds."""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

import bcrypt

COST = 12
"""bcrypt's; 0.2 to 0.3 s a login on a server's core."""
SHORTEST = 10
LONGEST = 72
"""Bytes of a password that bcrypt looks at."""
TOKEN_BYTES = 32
NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")


class LoginError(ValueError):
    """The logins given cannot be used; the text is for a person and holds no password."""


@dataclass(frozen=True)
class Login:
    """One person."""

    name: str
    password_hash: str
    """bcrypt's, as crypt(3) reads it."""
    token: str
    """What the session cookie must hold; it changes with the password."""


def parse(text: str) -> dict[str, str]:
    """Name -> password from lines NAME:PASSWORD. Raises LoginError."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        name, colon, password = line.partition(":")
        where = f"secrets.gateway_logins, line {number}"
        if not colon or not NAME.fullmatch(name):
            raise LoginError(f"{where}: must be NAME:PASSWORD, the name of letters, digits and . _ @ -")
        if name in found:
            raise LoginError(f"{where}: a second login {name}")
        if not SHORTEST <= len(password.encode()) <= LONGEST:
            raise LoginError(f"{where}: the password of {name} must have {SHORTEST} to {LONGEST} bytes")
        found[name] = password
    if not found:
        raise LoginError("secrets.gateway_logins: nobody may log in; give lines NAME:PASSWORD")
    return found


def renewed(passwords: Mapping[str, str], old: Mapping[str, Login]) -> list[Login]:
    """The logins for these passwords; who has one of `old` with the same password keeps it, session included."""
    return [_login(name, password, old.get(name)) for name, password in sorted(passwords.items())]


def _login(name: str, password: str, old: Login | None) -> Login:
    if old and bcrypt.checkpw(password.encode(), old.password_hash.encode()):
        return old
    hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(COST)).decode()
    return Login(name, hashed, secrets.token_urlsafe(TOKEN_BYTES))


def users_file(logins: list[Login]) -> str:
    """nginx's auth_basic_user_file."""
    return "".join(f"{login.name}:{login.password_hash}\n" for login in logins)


def sessions_file(logins: list[Login]) -> str:
    """nginx's two maps: from what a session cookie holds to a name, and back for the login page."""
    known = "".join(f'    "{login.token}" "{login.name}";\n' for login in logins)
    given = "".join(f'    "{login.name}" "{login.token}";\n' for login in logins)
    return (
        f'map $sdfleet_session $sdfleet_user {{\n    default "";\n{known}}}\n'
        f'map $remote_user $sdfleet_token {{\n    default "";\n{given}}}\n'
    )


def read(users: str, sessions: str) -> dict[str, Login]:
    """The logins that stand on a host, from the texts of its users file and its sessions file."""
    hashes = dict(line.split(":", 1) for line in users.splitlines() if ":" in line)
    tokens = {name: token for name, token in re.findall(r'^    "([^"]+)" "([^"]+)";$', sessions, re.MULTILINE)}
    return {name: Login(name, hashes[name], tokens[name]) for name in hashes.keys() & tokens.keys()}
