"""Forward ports of the machine's loopback to the hosts' sshd.

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
    """Copy bytes one way until the sender closes, then close the other side."""
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


def forward_to(address: str, port: int) -> Handler:
    """A handler that forwards each accepted connection to `address`:`port`."""

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


async def serve(forwards: list[tuple[int, str, int]]) -> None:
    """Forward forever; each entry is a listening socket's file descriptor and the target address and port."""
    servers = [
        await asyncio.start_server(forward_to(address, port), sock=socket.socket(fileno=fd), backlog=256)
        for fd, address, port in forwards
    ]
    await asyncio.gather(*(server.serve_forever() for server in servers))


def _parse(text: str) -> tuple[int, str, int]:
    fd, _, target = text.partition("=")
    address, _, port = target.partition(":")
    return int(fd), address, int(port)


if __name__ == "__main__":
    asyncio.run(serve([_parse(argument) for argument in sys.argv[1:]]))
