"""Who may come in: people's passwords, as hashes that the gateway's login program reads."""

import base64
import hashlib
import re
import secrets
from collections.abc import Mapping

from roles.onhost.login_door import matches, read_users

COST, BLOCK, TIMES = 2**15, 8, 3
"""scrypt's, as OWASP's password storage cheat sheet has it for 32 MB; a third of a second on a server's core."""
SHORTEST = 10
LONGEST = 128
"""Bytes of a password."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


class LoginError(ValueError):
    """The logins given cannot be used; the text is for a person and holds no password."""


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
        if twin := next((other for other in found if other.lower() == name.lower()), None):
            same = f"a second login {name}" if twin == name else f"{name} differs from the login {twin} only in case"
            raise LoginError(f"{where}: {same}")
        if not SHORTEST <= len(password.encode()) <= LONGEST:
            raise LoginError(f"{where}: the password of {name} must have {SHORTEST} to {LONGEST} bytes")
        found[name] = password
    if not found:
        raise LoginError("secrets.gateway_logins: nobody may log in; give lines NAME:PASSWORD")
    return found


def users_file(passwords: Mapping[str, str], old: str) -> str:
    """
    Lines NAME:HASH; who has the same password as before keeps the hash, and so the sessions.

    + old: the file as it stands on the host
    """
    known = read_users(old)
    return "".join(f"{name}:{_hash(password, known.get(name, ''))}\n" for name, password in sorted(passwords.items()))


def _hash(password: str, old: str) -> str:
    parameters = f"scrypt${COST}${BLOCK}${TIMES}$"
    if old.startswith(parameters) and matches(password, old):
        return old
    salt = secrets.token_bytes(16)
    memory = 2 * 128 * COST * BLOCK
    found = hashlib.scrypt(password.encode(), salt=salt, n=COST, r=BLOCK, p=TIMES, maxmem=memory, dklen=32)
    return parameters + f"{base64.b64encode(salt).decode()}${base64.b64encode(found).decode()}"
