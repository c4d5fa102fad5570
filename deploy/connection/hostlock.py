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
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from pathlib import PurePosixPath
from typing import IO

from deploy.connection import refusals
from deploy.connection.several import each
from deploy.connection.ssh import Answer, HostError, Remote
from inventory.hosts import whoami
from inventory.model import HostSettings
from roles.onhost.init import BOOTED
from roles.paths import CONFIRM, HOST_LOCK, STEP_LOCK

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
AGAIN_SECONDS = 5
"""How often to look whether a lock has ended that must be taken again; less than a host waits for its controller."""
HELD = "held"
"""First word of the host's answer if another process has the lock; the rest says which."""
TAKEN = "taken"
"""First word if the lock was taken; `UNCONFIRMED` follows if a change of an earlier controller is not confirmed yet."""
UNCONFIRMED = "unconfirmed"
PROBE_SECONDS = 2
"""How long to try to take the lock: the host itself takes it for a moment to see whether it is free."""
WAITS = "waits"
"""First word of what the host says before it waits for the last step of a run that ended; the rest says whose."""

# bash and flock are preinstalled on every Debian and Ubuntu; dash's `read` has no timeout.
_SCRIPT = f"""
# flock lets whoever can read a file lock it, and no service may; a step of the login's shares the second one.
(umask 077; : >>{HOST_LOCK} && : >>{STEP_LOCK}) && exec 9>>{HOST_LOCK} 8>>{STEP_LOCK} || exit 1
chmod 600 {HOST_LOCK} {STEP_LOCK}
[ -z "$SUDO_UID" ] || chown "$SUDO_UID" {STEP_LOCK}
change=$3
taken() {{ if [ -e {CONFIRM}/pending.json ]; then echo {TAKEN} {UNCONFIRMED}; else echo {TAKEN}; fi; }}
held() {{
  # After a restart of the host either of a run's two processes may be the first to take it again.
  if [ -n "$change" ] && [ "$change" = "$(cat {HOST_LOCK}.change 2>/dev/null)" ]; then taken; exit 0; fi
  echo "{HELD} $(cat {HOST_LOCK}.holder 2>/dev/null)"; exit 0
}}
ended() {{
  flock --nonblock "$1" && return
  echo "{WAITS} $(cat {HOST_LOCK}.holder 2>/dev/null)"
  flock --timeout {STEP_SECONDS} "$1" || held
}}
if [ -e {HOST_LOCK}.ending ] || ! flock --timeout {PROBE_SECONDS} 9; then
  if [ -e {HOST_LOCK}.ending ]; then ended 9; else held; fi
fi
ended 8
flock --unlock 8
rm -f {HOST_LOCK}.ending
printf '%s\\n' "$1" >{HOST_LOCK}.holder
printf '%s\\n' "$change" >{HOST_LOCK}.change
# Told until another run changes the host; one run may take this lock twice. A run that confirms nothing at its end is
# what a person has decided, and that must stay so after a power cut.
[ -n "$change" ] && grep -qsF -e "$change" {CONFIRM}/undone.json || rm -f {CONFIRM}/undone.json
if [ -e {CONFIRM}/pending.json ] && [ -z "$change" ]; then rm -f {CONFIRM}/pending.json && sync {CONFIRM}; fi
# What starts the services of a host without systemd, if they are to run: after a stop nothing else may have done it.
if [ -x "$2" ] && [ ! -d {BOOTED} ] && ! "$2" serves 9>&- 8>&-; then
  echo "{WAITS} $2, which starts its services"
  "$2" </dev/null >/dev/null 2>&1 9>&- 8>&-  # a step that needs them says why they do not run
fi
taken
while read -r -t {SILENCE_SECONDS} _; do :; done
printf 'the last step of %s, which has ended,\\n' "$1" >{HOST_LOCK}.holder
rm -f {HOST_LOCK}.change
: >{HOST_LOCK}.ending
flock 8
"""

STEP = ("flock", "--shared", "--close", str(STEP_LOCK))
"""Prefix of a command that changes the host. flock itself holds the lock, not the processes that the command leaves."""


def command(verb: str, boot: PurePosixPath | None = None, change: str = "") -> list[str]:
    """The command that takes the lock of its host for `sdfleet VERB` and holds it while the heartbeat lasts.

    + boot: the script that starts all services of a host without systemd (Paths.boot), if they are to run for the verb
    + change: names what the verb changes and confirms at its end; without one, what waits on the host is confirmed now
    """
    since = time.strftime("%H:%M:%S UTC", time.gmtime())
    holder = f"`sdfleet {verb}` of {whoami()} (process {os.getpid()}) since {since}"
    return ["bash", "-c", _SCRIPT, "sdfleet", holder, str(boot or ""), change]


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


def unconfirmed(answer: str) -> bool:
    """Whether a change of an earlier controller waits for its confirmation on a host whose lock was taken."""
    return answer.split() == [TAKEN, UNCONFIRMED]


def waits(answer: str) -> str | None:
    """What the host waits for, if it says that it waits; its next line then says whether the lock was taken."""
    word, _, holder = answer.strip().partition(" ")
    return (holder.removesuffix(",") or "another run of sdfleet") if word == WAITS else None


def answered(line: Callable[[], str], told: Callable[[str], None]) -> str:
    """The host's final answer, read by `line`; `told` is called with what it waits for until then."""
    answer = line()
    while what := waits(answer):
        told(f"waiting for {what}")
        answer = line()
    return answer


def lost(host: HostSettings) -> refusals.Refusal:
    """The error for a host that disconnected before it answered."""
    return refusals.unreachable(host, "the connection was lost before it said whether its lock is free")


@contextlib.contextmanager
def locked(
    remotes: Mapping[str, Remote], verb: str, boot: bool = True, change: str = ""
) -> Iterator[dict[str, HostError]]:
    """Hold the locks of hosts. Yields the reasons by name for those not held, unreachable hosts included.

    A lock that ends, since its host restarts, is taken again.

    + boot: whether their services are to run; those of a host without systemd may be left after a stop
    + change: as for `command`
    """
    holders: dict[str, subprocess.Popen[str]] = {}
    refused: dict[str, HostError] = {}
    taken: set[str] = set()
    enough = threading.Event()
    beat: threading.Thread | None = None
    with contextlib.ExitStack() as files:
        try:
            said = {name: files.enter_context(tempfile.TemporaryFile("w+", errors="replace")) for name in remotes}

            def take(name: str) -> "subprocess.Popen[str]":
                host = remotes[name].host
                its = "" if host.connection.local else change  # nothing is confirmed over a connection to itself
                return subprocess.Popen(
                    remotes[name].argv(command(verb, host.paths.boot if boot else None, its)),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=said[name],
                    text=True,
                    start_new_session=True,
                )

            # Sends sudo's password to all hosts in parallel; argv below would do it one by one.
            lent = each(remotes, lambda remote: remote.askpass())
            refused |= {name: why for name, why in lent.items() if isinstance(why, HostError)}
            for name in [name for name in remotes if name not in refused]:
                holders[name] = take(name)
            # While one host waits, the locks of the others must not expire.
            beat = threading.Thread(target=_beat, args=(holders, taken, take, enough), daemon=True)
            beat.start()
            for name, holder in holders.items():
                try:
                    _judge(remotes[name], verb, holder, said[name])
                    taken.add(name)
                except HostError as error:
                    refused[name] = error
            yield refused
        finally:
            enough.set()
            if beat:
                beat.join()
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
        raise HostError(why, host=remote.name)
    remote.unconfirmed = unconfirmed(answer)


def _answer(name: str, said: IO[str]) -> str:
    """The host's final answer; prints what it waits for until then."""
    from deploy.console import out, styled, waiting  # here, since the engine prints nothing

    answer = said.readline()
    while what := waits(answer):
        out.print(styled("[bold]{}[/] waiting for {}", name, what))
        with waiting(f"{name}: {what}"):
            answer = said.readline()
    return answer


def _beat(
    holders: dict[str, "subprocess.Popen[str]"],
    taken: Set[str],
    take: Callable[[str], "subprocess.Popen[str]"],
    enough: threading.Event,
) -> None:
    """Send heartbeats until there is enough, and take a lock again that was taken and has ended."""
    while not enough.wait(AGAIN_SECONDS):
        for name, holder in list(holders.items()):
            if name in taken and holder.poll() is not None:
                holders[name] = take(name)
                continue
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


def shell(verb: str, sudo: Sequence[str], boot: PurePosixPath | None = None, change: str = "") -> str:
    """`command` as one line for a remote shell, after the sudo prefix."""
    return shlex.join([*sudo, *command(verb, boot, change)])
