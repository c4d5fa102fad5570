"""The lock on a host that lets only one controller at a time change it.

A process on the host holds the lock as long as it gets a heartbeat over its controller's SSH connection, and then until
the controller's last step has ended: a step continues on the host when the controller dies. So the lock is released
when nothing changes the host any more; `SILENCE_SECONDS` later if the network was lost.
"""

import contextlib
import os
import shlex
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import IO

from deploy import refusals
from deploy.connections import each
from deploy.ssh import Answer, HostError, Remote
from inventory.hosts import whoami
from inventory.model import HostSettings
from roles.onhost.init import BOOTED
from roles.paths import HOST_LOCK, STEP_LOCK

SILENCE_SECONDS = 60
"""After this long without a heartbeat the lock is released."""

STEP_SECONDS = 120
"""How long to wait for the last step of a dead controller; the longest is a start of the WebUI on a busy host."""
BOOT_SECONDS = 1800
"""How long the start of a host's services after a stop may take.

It installs packages anew and waits for another start of them, and for supervisord's last shutdown; 145 s were measured
on two cores at a load of 22.
"""
BEAT_SECONDS = 15
HELD = "held"
"""First word of the host's answer if another process has the lock; the rest says which."""
TAKEN = "taken"
WAITS = "waits"
"""First word of what the host says before it waits for the last step of a run that ended; the rest says whose."""

WAITING = "waiting for "

# bash and flock are preinstalled on every Debian and Ubuntu; dash's `read` has no timeout.
_SCRIPT = f"""
# flock lets whoever can read a file lock it, and no service may; a step of the login's shares the second one.
(umask 077; : >>{HOST_LOCK} && : >>{STEP_LOCK}) && exec 9>>{HOST_LOCK} 8>>{STEP_LOCK} || exit 1
chmod 600 {HOST_LOCK} {STEP_LOCK}
[ -z "$SUDO_UID" ] || chown "$SUDO_UID" {STEP_LOCK}
held() {{ echo "{HELD} $(cat {HOST_LOCK}.holder 2>/dev/null)"; exit 0; }}
ended() {{
  flock --nonblock "$1" && return
  echo "{WAITS} $(cat {HOST_LOCK}.holder 2>/dev/null)"
  flock --timeout {STEP_SECONDS} "$1" || held
}}
if [ -e {HOST_LOCK}.ending ]; then ended 9; else flock --nonblock 9 || held; fi
ended 8
flock --unlock 8
rm -f {HOST_LOCK}.ending
printf '%s\\n' "$1" >{HOST_LOCK}.holder
# What starts the services of a host without systemd, if they are to run: after a stop nothing else may have done it.
if [ -x "$2" ] && [ ! -d {BOOTED} ] && ! "$2" serves 9>&- 8>&-; then
  echo "{WAITS} $2, which starts its services"
  "$2" </dev/null >/dev/null 2>&1 9>&- 8>&-  # a step that needs them says why they do not run
fi
echo {TAKEN}
while read -r -t {SILENCE_SECONDS} _; do :; done
printf 'the last step of %s, which has ended,\\n' "$1" >{HOST_LOCK}.holder
: >{HOST_LOCK}.ending
flock 8
"""

STEP = ("flock", "--shared", "--close", str(STEP_LOCK))
"""Prefix of a command that changes the host. flock itself holds the lock, not the processes that the command leaves."""


def command(verb: str, boot: PurePosixPath | None = None) -> list[str]:
    """The command that takes the lock of its host for `sdfleet VERB` and holds it while the heartbeat lasts.

    + boot: the script that starts all services of a host without systemd (Paths.boot), if they are to run for the verb
    """
    since = time.strftime("%H:%M:%S UTC", time.gmtime())
    holder = f"`sdfleet {verb}` of {whoami()} (process {os.getpid()}) since {since}"
    return ["bash", "-c", _SCRIPT, "sdfleet", holder, str(boot or "")]


def refusal(answer: str, host: HostSettings | None = None) -> str | None:
    """Why the lock was not taken, from the first line that `command` printed; None if it was taken."""
    if host and refusals.NO_SUDO in answer:
        return refusals.needs_sudo(host)
    word, _, holder = answer.strip().partition(" ")
    if word == TAKEN:
        return None
    if word == HELD:
        return f"{holder or 'another run of sdfleet'} is changing this host; wait until it is done, or stop it"
    return f"its lock {HOST_LOCK} cannot be taken: {answer.strip() or 'no answer'}"


def waits(answer: str) -> str | None:
    """What the host waits for, if it says that it waits; its next line then says whether the lock was taken."""
    word, _, holder = answer.strip().partition(" ")
    return f"{WAITING}{holder.removesuffix(',') or 'another run of sdfleet'}" if word == WAITS else None


def answered(line: Callable[[], str], told: Callable[[str], None]) -> str:
    """The host's final answer, read by `line`; `told` is called with what it waits for until then."""
    answer = line()
    while why := waits(answer):
        told(why)
        answer = line()
    return answer


def lost(host: HostSettings) -> refusals.Refusal:
    """The error for a host that disconnected before it answered."""
    return refusals.unreachable(host, "the connection was lost before it said whether its lock is free")


@contextlib.contextmanager
def locked(remotes: Mapping[str, Remote], verb: str, boot: bool = True) -> Iterator[dict[str, HostError]]:
    """Hold the locks of hosts. Yields the reasons by name for those not held, unreachable hosts included.

    + boot: whether their services are to run; those of a host without systemd may be left after a stop
    """
    holders: dict[str, subprocess.Popen[str]] = {}
    refused: dict[str, HostError] = {}
    enough = threading.Event()
    beat = threading.Thread(target=_beat, args=(holders, enough), daemon=True)
    with contextlib.ExitStack() as files:
        try:
            said = {name: files.enter_context(tempfile.TemporaryFile("w+", errors="replace")) for name in remotes}
            # Sends sudo's password to all hosts in parallel; argv below would do it one by one.
            lent = each(remotes, lambda remote: remote.askpass())
            refused |= {name: why for name, why in lent.items() if isinstance(why, HostError)}
            for name in [name for name in remotes if name not in refused]:
                holders[name] = subprocess.Popen(
                    remotes[name].argv(command(verb, remotes[name].host.paths.boot if boot else None)),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=said[name],
                    text=True,
                    start_new_session=True,
                )
            # While one host waits, the locks of the others must not expire.
            beat.start()
            for name, holder in holders.items():
                try:
                    _judge(remotes[name], verb, holder, said[name])
                except HostError as error:
                    refused[name] = error
            yield refused
        finally:
            enough.set()
            for holder in holders.values():
                _let_go(holder)


def refuse(refused: Mapping[str, HostError], others: str = "") -> None:
    """Raise HostError if a lock is not held, naming every such host.

    + others: the command that leaves those hosts out; empty if there is none
    """
    if refused:
        cure = [f"Nothing was changed. To continue without {', '.join(refused)}: {others}"] if others else []
        raise HostError("\n".join([*map(str, refused.values()), *cure]))


def _judge(remote: Remote, verb: str, holder: subprocess.Popen[str], said: IO[str]) -> None:
    """Wait for a host's answer. Raises HostError if its lock was not taken.

    + said: what `holder` writes to standard error
    """
    assert holder.stdout
    answer = _answer(remote.name, holder.stdout)
    if not answer:
        said.seek(0)
        remote.judge(Answer(holder.wait(), "", said.read()), command(verb), label="taking the host's lock")
        says, cure = lost(remote.host)
        raise HostError(says, cure=cure, unreachable=True)
    if why := refusal(answer, remote.host):
        raise HostError(f"{remote.name}: {why}")


def _answer(name: str, said: IO[str]) -> str:
    """The host's final answer; prints what it waits for until then."""
    from deploy.console import out, styled, waiting  # here, since the engine prints nothing

    answer = said.readline()
    while why := waits(answer):
        out.print(styled("[bold]{}[/] {}", name, why))
        with waiting(f"{name}: {why.removeprefix(WAITING)}"):
            answer = said.readline()
    return answer


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


def shell(verb: str, sudo: Sequence[str], boot: PurePosixPath | None = None) -> str:
    """`command` as one line for a remote shell, after the sudo prefix."""
    return shlex.join([*sudo, *command(verb, boot)])
