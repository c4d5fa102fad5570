"""What paramiko leaves out for a tool that must notice when a host is gone. For the engine's process alone."""

import contextlib
import socket
from typing import Any

import gevent
from paramiko import Transport
from pyinfra.api.host import Host

ASK_SECONDS = 15
"""How often a connected host is asked for a sign of life."""

PATIENCE_SECONDS = 45
"""How long it may stay silent; then its connection is closed, and the operation that waits for it fails."""


def prompt_transport(sock: Any, **options: Any) -> Transport:
    """paramiko's transport over a socket whose small packets leave at once.

    paramiko leaves TCP_NODELAY off, which costs 40 ms of waiting for every command, and for steps of the login.
    """
    with contextlib.suppress(AttributeError, OSError):  # a jump host's channel has no such option
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Transport(sock, **options)


def hang_up(transport: Transport) -> None:
    """Wake the thread that reads from `transport`, which closing it waits for: by itself it looks up too rarely."""
    with contextlib.suppress(AttributeError, OSError):
        transport.sock.shutdown(socket.SHUT_RDWR)


def tend(host: Host) -> None:
    """Watch the connection of `host`, so that a host that falls silent is noticed.

    paramiko's keepalive never looks for an answer: a command on a vanished host would be waited for until the
    kernel gives up.
    """
    client = getattr(host.connector, "client", None)
    transport = client.get_transport() if client else None
    if transport is None:
        return

    def watch() -> None:
        while transport.is_active():
            gevent.sleep(ASK_SECONDS)
            try:
                with gevent.Timeout(PATIENCE_SECONDS):
                    # sshd refuses a request that it does not know: any answer is a sign of life (RFC 4254, 4).
                    transport.global_request("keepalive@sdfleet", wait=True)
            except (gevent.Timeout, OSError, EOFError):
                transport.close()

    gevent.spawn(watch)
