"""One controller at a time changes a host: a lock there that dies with whoever holds it.

A process on the host holds it, and lives as long as it hears a heartbeat over its controller's SSH connection: so
it is free again at once when the controller dies, and after `SILENCE_SECONDS` when the network between them does.
"""

import contextlib
import os
import shlex
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping

from deploy.ssh import NO_SUDO, HostError, Remote, needs_sudo
from inventory.hosts import whoami
from roles.paths import HOST_LOCK

SILENCE_SECONDS = 60
"""Without a heartbeat for so long the lock is given back."""

BEAT_SECONDS = 15
HELD = "held"
"""First word of the host's answer when somebody else has the lock; the rest says who."""
TAKEN = "taken"

# bash and flock are on every Debian and Ubuntu before anything is installed; dash's `read` knows no time limit.
_SCRIPT = f"""
exec 9>>{HOST_LOCK} || exit 1
if ! flock --nonblock 9; then echo "{HELD} $(cat {HOST_LOCK}.holder 2>/dev/null)"; exit 0; fi
printf '%s\\n' "$1" >{HOST_LOCK}.holder
echo {TAKEN}
while read -r -t {SILENCE_SECONDS} _; do :; done
"""


def command(verb: str) -> list[str]:
    """The command that takes the lock of the host it runs on, for `sdfleet VERB`, and keeps it while it hears us."""
    since = time.strftime("%H:%M:%S UTC", time.gmtime())
    return ["bash", "-c", _SCRIPT, "sdfleet", f"`sdfleet {verb}` of {whoami()} (process {os.getpid()}) since {since}"]


def refusal(answer: str, user: str = "root") -> str | None:
    """Why the lock was not had, from the first words that `command` said to `user`; None if it was."""
    if NO_SUDO in answer:
        return needs_sudo(user)
    word, _, holder = answer.strip().partition(" ")
    if word == TAKEN:
        return None
    if word == HELD:
        return f"{holder or 'another run of sdfleet'} is changing this host; wait until it is done, or stop it"
    return f"its lock {HOST_LOCK} cannot be taken: {answer.strip() or 'no answer'}"


@contextlib.contextmanager
def locked(remotes: Mapping[str, Remote], verb: str) -> Iterator[dict[str, str]]:
    """Hold the locks of hosts; yields why by name for those whose lock was not to be had."""
    holders: dict[str, subprocess.Popen[str]] = {}
    refused: dict[str, str] = {}
    enough = threading.Event()
    beat = threading.Thread(target=_beat, args=(holders, enough), daemon=True)
    try:
        for name, remote in remotes.items():
            holders[name] = subprocess.Popen(
                remote.argv(command(verb)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
            )
        for name, holder in holders.items():
            assert holder.stdout
            if why := refusal(holder.stdout.readline()):
                refused[name] = why
        beat.start()
        yield refused
    finally:
        enough.set()
        for holder in holders.values():
            _let_go(holder)


def refuse(refused: Mapping[str, str]) -> None:
    """Raise HostError naming every host whose lock is not held, if there is one."""
    if refused:
        raise HostError("\n".join(f"{name}: {why}" for name, why in refused.items()))


def _beat(holders: Mapping[str, subprocess.Popen[str]], enough: threading.Event) -> None:
    while not enough.wait(BEAT_SECONDS):
        for holder in list(holders.values()):
            with contextlib.suppress(OSError, ValueError):
                assert holder.stdin
                holder.stdin.write("\n")
                holder.stdin.flush()


def _let_go(holder: subprocess.Popen[str]) -> None:
    with contextlib.suppress(OSError):
        assert holder.stdin
        holder.stdin.close()
    try:
        holder.wait(5)
    except subprocess.TimeoutExpired:
        holder.kill()
        holder.wait()


def shell(verb: str, sudo: bool) -> str:
    """`command` as one line for a remote shell."""
    return shlex.join([*(["sudo", "-n", "--"] if sudo else []), *command(verb)])
