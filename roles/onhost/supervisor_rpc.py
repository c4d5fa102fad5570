"""supervisord's XML-RPC interface, over its socket of root's."""

from __future__ import annotations

import http.client
import socket
import xmlrpc.client
from typing import Any

from roles.onhost import supervisor

SECONDS = 900
"""Longer than any service may take to stop."""


class _Connection(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(supervisor.SOCKET))


class _Transport(xmlrpc.client.Transport):
    seconds: float = SECONDS

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        return _Connection("supervisord", timeout=self.seconds)


def connect(seconds: float = SECONDS) -> Any:
    """The namespace `supervisor` of its methods. Raises OSError when a method is called and nothing listens.

    + seconds: how long an answer may take
    """
    transport = _Transport()
    transport.seconds = seconds
    return xmlrpc.client.ServerProxy("http://supervisord", transport=transport, allow_none=True).supervisor
