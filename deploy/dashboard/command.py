"""Serve the dashboard on this machine's loopback until Ctrl-C."""

import contextlib
import secrets
import socket
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import uvicorn

from deploy.connection.several import abandon, connect
from deploy.console import out
from deploy.dashboard.app import Painted, dashboard
from deploy.dashboard.board import Board
from deploy.dashboard.collector import Collector
from inventory.errors import ConfigError, Problem
from inventory.model import Fleet

PORT = 8686
STOP_SECONDS = 1.0
"""How long requests and commands on hosts may take to end when they are told to."""


def run(fleet: Fleet, names: Sequence[str], port: int | None) -> int:
    """Serve the page of these hosts until Ctrl-C.

    + port: None for `PORT`, or a free one if that is taken
    Raises ConfigError if the port is taken.
    """
    board = Board()
    board.put("fleet", "", {"name": fleet.table.name, "file": Path(fleet.file).name, "hosts": list(names)})
    with listener(port) as listening, connect(fleet.hosts[name] for name in names) as remotes:
        collectors = {name: Collector(remote, board) for name, remote in remotes.items()}
        for collector in collectors.values():
            collector.start()
        try:
            server, url = served(board, collectors, listening, lambda: stop(collectors.values()))
            out.print(f"Dashboard of {len(names)} host(s): {url}   (Ctrl-C ends it)")
            server.run(sockets=[listening])
        except KeyboardInterrupt:  # which uvicorn raises again when it has ended
            pass
        finally:
            stop(collectors.values())
    return 0


def served(
    board: Board, painted: Mapping[str, Painted], listening: socket.socket, ends: Callable[[], None]
) -> tuple[uvicorn.Server, str]:
    """The server, and the URL that opens the page.

    + painted: by host, where its runs' pictures come from
    + ends: ends what requests may wait for, when the server is to end
    """
    port, token = listening.getsockname()[1], secrets.token_urlsafe(24)
    app = dashboard(board, painted, lambda: server.should_exit, port=port, token=token, page=secrets.token_urlsafe(12))
    server = _Server(
        uvicorn.Config(
            app,
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="off",
            log_level="error",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        ),
        ends,
    )
    return server, f"http://127.0.0.1:{port}/?token={token}"


class _Server(uvicorn.Server):
    """Before it waits for open requests, what these wait for is ended."""

    def __init__(self, config: uvicorn.Config, ends: Callable[[], None]) -> None:
        super().__init__(config)
        self.ends = ends

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.ends()
        await super().shutdown(sockets)


def stop(collectors: Collection[Collector]) -> None:
    """End collectors, and the commands that they run on hosts; waits for them for `STOP_SECONDS`."""
    for collector in collectors:
        collector.stop()
    deadline = time.monotonic() + STOP_SECONDS
    while any(collector.is_alive() for collector in collectors) and time.monotonic() < deadline:
        abandon(collector.remote for collector in collectors)
        time.sleep(0.02)


def listener(port: int | None) -> socket.socket:
    """A socket that listens on a port of the loopback: `port`, or for None `PORT`, or any if that is taken.

    Raises ConfigError if `port` is taken.
    """
    for candidate in (PORT, 0) if port is None else (port,):
        found = socket.socket()
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            found.bind(("127.0.0.1", candidate))
            found.listen()
            return found
        found.close()
    raise ConfigError("--port", [Problem("", f"port {port} is taken; choose another, or leave it out")])
