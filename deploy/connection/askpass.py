"""Root rights for a login whose sudo asks for a password.

The password is sent over standard input and kept in the host's memory (/dev/shm), readable only by the login, until the
connection that sent it ends. sudo gets it from a program beside it; command lines show only that program's path.
"""

import secrets
import subprocess
from collections.abc import Sequence
from pathlib import PurePosixPath

from inventory.connection import Connection

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
"""Runs as the login, with the folder as its argument. Ends and deletes the folder when its standard input closes."""


def sudo(connection: Connection, askpass: PurePosixPath | None) -> list[str]:
    """The prefix that makes a command run as root.

    + askpass: the program that prints the password for sudo; None if sudo needs none
    """
    if not connection.sudo:
        return []
    return ["env", f"SUDO_ASKPASS={askpass}", "sudo", "-A", "--"] if askpass else ["sudo", "-n", "--"]


class Lent:
    """A password lent to a host."""

    def __init__(self, ssh: Sequence[str], words: Sequence[str], password: str) -> None:
        """Send it over its own connection.

        + ssh: the ssh command line, without the remote command
        + words: the remote command, from `command`
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
        """READY, REFUSED, or empty if the host could not be reached."""

    def end(self) -> tuple[int, str]:
        """Delete it from the host. Returns the exit status and the error output."""
        try:
            _, said = self._process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            _, said = self._process.communicate()
        return self._process.returncode, said


def folder() -> PurePosixPath:
    """A folder for one password, with a name that nobody can guess."""
    return PurePosixPath(f"/dev/shm/.sdfleet-{secrets.token_hex(12)}")


def command(place: PurePosixPath) -> list[str]:
    """The command that receives the password on the host."""
    return ["sh", "-c", SCRIPT, "sdfleet", str(place)]


def program(place: PurePosixPath) -> PurePosixPath:
    """The SUDO_ASKPASS program in that folder."""
    return place / "ask"
