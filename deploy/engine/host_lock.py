"""Hold a host's lock over the engine's own connection to it. Only for the engine's process."""

import contextlib
import subprocess
from collections.abc import Callable

import gevent
from paramiko import Channel, SSHException
from pyinfra.api.host import Host

from deploy.connection import hostlock
from deploy.connection.askpass import sudo
from deploy.connection.hostlock import BEAT_SECONDS, BOOT_SECONDS, STEP_SECONDS
from deploy.connection.ssh import HostError
from deploy.engine.connector import HostConnector

# The script waits for two locks, and may start all services of a host without systemd, before it answers. A host that
# is lost meanwhile is noticed by the connection itself, within a minute.
ANSWER_SECONDS = 2 * STEP_SECONDS + BOOT_SECONDS + 30


def hold(host: Host, verb: str, change: str, waits: Callable[[str], None]) -> str | None:
    """Take the lock of a connected host and keep it until the connection ends. Returns why not, or None.

    + change: names what this run changes (`hostlock.command`)
    + waits: is told what the host waits for, if it waits
    Raises HostError if the connection is lost before the host has said whether the lock was taken.
    """
    if not isinstance(connector := host.connector, HostConnector):
        return _hold_here(host, verb, waits)
    words = sudo(host.data.settings.connection, host.data.askpass)
    try:
        channel = connector.start(hostlock.shell(verb, words, host.data.settings.paths.boot, change), ANSWER_SECONDS)
        answer = hostlock.answered(lambda: _line(channel), waits)
    except (OSError, EOFError, SSHException):
        answer = ""
    if not answer:
        says, cure = hostlock.lost(host.data.settings)
        raise HostError(says, cure=cure, unreachable=True)
    why = hostlock.refusal(answer, host.data.settings)
    connector.unconfirmed, connector.locked_since = hostlock.unconfirmed(answer), connector.connections

    def beat() -> None:
        with contextlib.suppress(OSError, EOFError):
            while True:
                channel.sendall(b"\n")
                gevent.sleep(BEAT_SECONDS)

    if why is None:
        gevent.spawn(beat)
    return why


def hold_again(host: Host, verb: str, change: str, armed: bool, waits: Callable[[str], None]) -> str | None:
    """Take the lock again where an operation has rebooted the host, which ended it. Returns why to stop, or None.

    Without it the host would take its controller for gone, and undo what is not confirmed yet.

    + armed: whether the host undoes what is not confirmed
    """
    connector = host.connector
    if not isinstance(connector, HostConnector) or connector.connections <= connector.locked_since:
        return None
    if why := hold(host, verb, change, waits):
        return why
    if armed and not connector.unconfirmed:
        return "the host could not be reached for so long after its restart that it went back by itself"
    return None


def _line(channel: Channel) -> str:
    """The next line from the host, or its beginning if the connection ends."""
    answer = b""
    with contextlib.suppress(OSError):
        while not answer.endswith(b"\n") and (part := channel.recv(1)):  # a lock's answer, not a stream
            answer += part
    return answer.decode(errors="replace")


def _hold_here(host: Host, verb: str, waits: Callable[[str], None]) -> str | None:
    """The same for the local machine: the lock ends with this process. Who is there has decided what waits there."""
    command = hostlock.command(verb, host.data.settings.paths.boot)
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
    assert process.stdin and process.stdout
    answer = hostlock.answered(process.stdout.readline, waits)
    why = hostlock.refusal(answer)
    stdin = process.stdin

    def beat() -> None:
        with contextlib.suppress(OSError, ValueError):
            while process.poll() is None:
                stdin.write("\n")
                gevent.sleep(BEAT_SECONDS)

    if why is None:
        gevent.spawn(beat)
    return why
