"""Root's rights for a login whose sudo asks for a password, wherever a host is reached from.

The password comes over standard input and lies in the host's memory (/dev/shm), readable by the login alone, for as
long as the connection lives that brought it. sudo asks the program beside it, whose path is all that command lines say.
"""

import secrets
import subprocess
from collections.abc import Sequence
from pathlib import PurePosixPath

from inventory.model import Connection

READY, REFUSED = "ready", "refused"
SCRIPT = f"""
umask 077
trap 'rm -rf "$1"' EXIT HUP INT TERM
mkdir "$1" || exit 1
IFS= read -r password || exit 1
printf '%s\\n' "$password" >"$1/password"
printf '#!/bin/sh\\ncat "%s/password"\\n' "$1" >"$1/ask"
unset password
chmod 700 "$1/ask"
if SUDO_ASKPASS="$1/ask" sudo -A -k -- true </dev/null >&2; then echo {READY}; else echo {REFUSED}; fi
cat >/dev/null
"""
"""Runs as the login, with the folder as its argument; it ends, and takes all away, when its standard input does."""


def sudo(connection: Connection, askpass: PurePosixPath | None) -> list[str]:
    """The words before a command that make it root's.

    + askpass: the program that tells sudo the password; None where sudo needs none
    """
    if not connection.sudo:
        return []
    return ["env", f"SUDO_ASKPASS={askpass}", "sudo", "-A", "--"] if askpass else ["sudo", "-n", "--"]


class Lent:
    """A password lent to a host."""

    def __init__(self, ssh: Sequence[str], words: Sequence[str], password: str) -> None:
        """Lend it over a connection of its own.

        + ssh: what starts a command on the host, which follows as one word
        + words: the command, as `command` gives it for a folder
        """
        self._process = subprocess.Popen(
            [*ssh, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(f"{password}\n")
            self._process.stdin.flush()
        except OSError:
            self.answer = ""
            return
        self.answer = self._process.stdout.readline().strip()
        """READY, REFUSED, or nothing if the host was not reached."""

    def end(self) -> tuple[int, str]:
        """Take it back; exit status, and what the host or ssh said of it."""
        try:
            _, said = self._process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            _, said = self._process.communicate()
        return self._process.returncode, said


def folder() -> PurePosixPath:
    """A folder for one password, that nobody can have foreseen."""
    return PurePosixPath(f"/dev/shm/.sdfleet-{secrets.token_hex(12)}")


def command(place: PurePosixPath) -> list[str]:
    """What takes the password on the host."""
    return ["sh", "-c", SCRIPT, "sdfleet", str(place)]


def program(place: PurePosixPath) -> PurePosixPath:
    """What sudo asks there."""
    return place / "ask"
