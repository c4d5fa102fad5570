"""Stand-in upstreams on free ports of the loopback."""

import contextlib
import dataclasses
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.upstreams.service import Ports, Upstreams


def free_ports() -> Ports:
    """Ports that nothing listens on."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in dataclasses.fields(Ports)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return Ports(*(each.getsockname()[1] for each in sockets))


@pytest.fixture
def upstreams(tmp_path: Path) -> Iterator[Upstreams]:
    """Upstreams without content, without faults."""
    with Upstreams(tmp_path / "upstreams", ports=free_ports()) as running:
        yield running
