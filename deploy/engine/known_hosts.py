"""Known hosts for paramiko, read as OpenSSH reads them (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT).

paramiko's own reader knows no patterns, no revoked keys, and no host that is listed without its port.
"""

import base64
import contextlib
import fnmatch
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from paramiko import PKey, SSHException
from paramiko.hostkeys import HostKeys
from paramiko.pkey import UnknownKeyType

from inventory.connection import Login

REVOKED, AUTHORITY = "@revoked", "@cert-authority"
HASHED = re.compile(r"\|1(\|[A-Za-z0-9+/]{27}=){2}")
"""A hashed name: salt and hash, 20 bytes each."""


@dataclass
class KnownHosts:
    """What files say of one login's host."""

    keys: list[PKey] = field(default_factory=list)
    """The keys of the host as it is reached: if there are any, no other is accepted."""
    without_port: list[PKey] = field(default_factory=list)
    """Keys of its address alone: accepted too, but other keys are not refused, since another machine may be there."""
    revoked: list[PKey] = field(default_factory=list)
    authority: bool = False
    """Whether an authority may vouch for it, which paramiko cannot check."""


def read(files: Iterable[Path], login: Login) -> KnownHosts:
    """The keys of a login's host."""
    lines = [line for file in files for line in _lines(file)]
    known = _found(lines, login.known_as)
    if login.known_as != login.address:
        alone = _found(lines, login.address)
        known.without_port = alone.keys
        known.revoked += alone.revoked
        known.authority |= alone.authority
    return known


def _lines(file: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return file.read_text(errors="replace").splitlines()
    return []


def _found(lines: Iterable[str], name: str) -> KnownHosts:
    """What lines of the form [@MARKER] NAMES TYPE KEY [COMMENT] say of a name; all others say nothing."""
    known = KnownHosts()
    for line in lines:
        fields = line.split()
        marker = fields.pop(0) if line.lstrip().startswith("@") else ""
        if line.lstrip().startswith("#") or len(fields) < 3 or not _matches(fields[0], name):
            continue
        try:
            key = PKey.from_type_string(fields[1], base64.b64decode(fields[2], validate=True))
        except (SSHException, ValueError, OverflowError, UnknownKeyType):
            continue
        if marker == REVOKED:
            known.revoked.append(key)
        elif marker == AUTHORITY:
            known.authority = True
        elif not marker:
            known.keys.append(key)
    return known


def _matches(patterns: str, name: str) -> bool:
    """Whether a name is in a list of patterns; one with ! excludes what it matches. A hashed name stands alone."""
    if patterns.startswith("|"):
        return bool(HASHED.fullmatch(patterns)) and HostKeys.hash_host(name.lower(), patterns) == patterns
    matched = False
    for pattern in patterns.split(","):
        # Only * and ? are special: the brackets belong to [HOST]:PORT.
        literal = pattern.lower().removeprefix("!").replace("[", "[[]")
        if fnmatch.fnmatchcase(name.lower(), literal):
            if pattern.startswith("!"):
                return False
            matched = True
    return matched
