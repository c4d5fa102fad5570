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
        self.sock.settimeout(SECONDS)
        self.sock.connect(str(supervisor.SOCKET))


class _Transport(xmlrpc.client.Transport):
    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        return _Connection("supervisord")


def connect() -> Any:
    """The namespace `supervisor` of its methods. Raises OSError when a method is called and nothing listens."""
    return xmlrpc.client.ServerProxy("http://supervisord", transport=_Transport(), allow_none=True).supervisor
