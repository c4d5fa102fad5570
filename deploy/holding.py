"""Hold a host's lock over the engine's own connection to it. Only for the engine's process."""

import contextlib
import subprocess

import gevent
from pyinfra.api.host import Host

from deploy import hostlock
from deploy.askpass import sudo
from deploy.connector import HostConnector
from deploy.hostlock import BEAT_SECONDS, STEP_SECONDS

ANSWER_SECONDS = 2 * STEP_SECONDS + 30  # the script waits for two locks


def hold(host: Host, verb: str) -> str | None:
    """Take the lock of a connected host and keep it until the connection ends. Returns why not, or None."""
    if not isinstance(connector := host.connector, HostConnector):
        return _hold_here(verb)
    words = sudo(host.data.settings.connection, host.data.askpass)
    channel = connector.start(hostlock.shell(verb, words), ANSWER_SECONDS)
    answer = b""
    with contextlib.suppress(OSError):
        while not answer.endswith(b"\n") and (part := channel.recv(4096)):
            answer += part
    if not answer:
        return str(hostlock.lost(host.data.settings))
    why = hostlock.refusal(answer.decode(errors="replace"), host.data.settings.connection.user)

    def beat() -> None:
        with contextlib.suppress(OSError, EOFError):
            while True:
                channel.sendall(b"\n")
                gevent.sleep(BEAT_SECONDS)

    if why is None:
        gevent.spawn(beat)
    return why


def _hold_here(verb: str) -> str | None:
    """The same for the local machine: the lock ends with this process."""
    process = subprocess.Popen(
        hostlock.command(verb), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stdin and process.stdout
    why = hostlock.refusal(process.stdout.readline())
    stdin = process.stdin

    def beat() -> None:
        with contextlib.suppress(OSError, ValueError):
            while process.poll() is None:
                stdin.write("\n")
                gevent.sleep(BEAT_SECONDS)

    if why is None:
        gevent.spawn(beat)
    return why
