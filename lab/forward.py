"""Roads from the machine's loopback to the hosts' sshd.

Runs inside the lab's network with listening sockets that were opened outside it, so neither side needs a
route, an address or a firewall rule: `python -m lab.forward FD=ADDRESS:PORT ...`.
"""

import asyncio
import contextlib
import socket
import sys
from collections.abc import Awaitable, Callable

CHUNK = 1 << 16
CONNECT_SECONDS = 5

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry bytes one way until the sender ends, and pass that end on."""
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


def road(address: str, port: int) -> Handler:
    """A handler that joins each accepted connection with a new one to `address`:`port`."""

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            connecting = asyncio.open_connection(address, port)
            far_reader, far_writer = await asyncio.wait_for(connecting, CONNECT_SECONDS)
            try:
                await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
            finally:
                far_writer.close()
        writer.close()

    return join


async def serve(roads: list[tuple[int, str, int]]) -> None:
    """Forward for ever; each road is a listening socket's file number and the address and port it leads to."""
    servers = [
        await asyncio.start_server(road(address, port), sock=socket.socket(fileno=fd), backlog=256)
        for fd, address, port in roads
    ]
    await asyncio.gather(*(server.serve_forever() for server in servers))


def _parse(text: str) -> tuple[int, str, int]:
    fd, _, target = text.partition("=")
    address, _, port = target.partition(":")
    return int(fd), address, int(port)


if __name__ == "__main__":
    asyncio.run(serve([_parse(argument) for argument in sys.argv[1:]]))
