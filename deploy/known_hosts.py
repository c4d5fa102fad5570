"""Known hosts for paramiko, read as OpenSSH reads them (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT).

paramiko's own reader knows no patterns, no revoked keys, and no host that is listed without its port.
"""

import contextlib
import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from paramiko import PKey, SSHException
from paramiko.hostkeys import HostKeyEntry, HostKeys

from inventory.connection import Login

REVOKED, AUTHORITY = "@revoked", "@cert-authority"


@dataclass
class KnownHosts:
    """What files say of one login's host."""

    keys: list[PKey] = field(default_factory=list)
    revoked: set[bytes] = field(default_factory=set)
    authority: bool = False
    """Whether an authority may vouch for it, which paramiko cannot check."""


def read(files: Iterable[Path], login: Login) -> KnownHosts:
    """The keys of a host; those listed for its address alone count if none is listed with its port."""
    lines = [line for file in files for line in _lines(file)]
    found = _found(lines, login.known_as)
    if not found.keys and login.known_as != login.address:
        alone = _found(lines, login.address)
        found = KnownHosts(alone.keys, found.revoked | alone.revoked, found.authority or alone.authority)
    found.keys = [key for key in found.keys if key.asbytes() not in found.revoked]
    return found


def _lines(file: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return [line for text in file.read_text(errors="replace").splitlines() if (line := text.strip())]
    return []


def _found(lines: Iterable[str], name: str) -> KnownHosts:
    known = KnownHosts()
    for line in lines:
        marker, rest = line.split(None, 1) if line.startswith("@") and " " in line else ("", line)
        with contextlib.suppress(SSHException, ValueError):
            entry = None if line.startswith("#") else HostKeyEntry.from_line(rest)
            if not entry or not entry.key or not _matches(",".join(entry.hostnames or ()), name):
                continue
            if marker == REVOKED:
                known.revoked.add(entry.key.asbytes())
            elif marker == AUTHORITY:
                known.authority = True
            elif not marker:
                known.keys.append(entry.key)
    return known


def _matches(patterns: str, name: str) -> bool:
    """Whether a name is in a list of patterns; one with ! excludes what it matches. A hashed name stands alone."""
    if patterns.startswith("|"):
        return HostKeys.hash_host(name, patterns) == patterns
    matched = False
    for pattern in patterns.split(","):
        # Only * and ? are special: the brackets belong to [HOST]:PORT.
        literal = pattern.lower().removeprefix("!").replace("[", "[[]")
        if fnmatch.fnmatchcase(name.lower(), literal):
            if pattern.startswith("!"):
                return False
            matched = True
    return matched
