"""Users of the gateway: their passwords, as hashes that the gateway's login program reads."""

import base64
import hashlib
import re
import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence

from roles.onhost.login_authentication import matches, read_users

COST, BLOCK, TIMES = 2**15, 8, 3
"""scrypt's parameters from OWASP's password storage cheat sheet for 32 MB; a third of a second on a server's core."""
SHORTEST = 10
LONGEST = 128
"""Bytes of a password."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


class LoginError(ValueError):
    """The logins cannot be used; `sentences` has one for each mistake, and contains no password."""

    def __init__(self, sentences: Sequence[str]) -> None:
        super().__init__("; ".join(sentences))
        self.sentences = tuple(sentences)


def parse_logins(text: str) -> dict[str, str]:
    """Name -> password from lines NAME:PASSWORD. Raises LoginError with every mistake."""
    found: dict[str, str] = {}
    wrong: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        name, colon, password = line.partition(":")
        if not colon or not NAME.fullmatch(name):
            why = ["must be NAME:PASSWORD, the name of letters, digits and . _ @ -"]
        else:
            why = [*_twin(name, found), *_length(name, password)]
            found[name] = password
        wrong += [f"secrets.gateway_logins, line {number}: {each}" for each in why]
    if not found and not wrong:
        wrong = ["secrets.gateway_logins: nobody may log in; give lines NAME:PASSWORD"]
    if wrong:
        raise LoginError(wrong)
    return found


def _twin(name: str, known: Collection[str]) -> Iterator[str]:
    """What is wrong with a name next to those before it."""
    if name in known:
        yield f"a second login {name}"
    elif twin := next((other for other in known if other.lower() == name.lower()), None):
        yield f"{name} differs from the login {twin} only in case"


def _length(name: str, password: str) -> Iterator[str]:
    if not SHORTEST <= len(password.encode()) <= LONGEST:
        yield f"the password of {name} must have {SHORTEST} to {LONGEST} bytes"


def users_file(passwords: Mapping[str, str], old: str) -> str:
    """
    Lines NAME:HASH; a user with an unchanged password keeps the hash, and so the sessions.

    + old: the present file on the host
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
