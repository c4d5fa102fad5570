"""The port of a service that draws: closed until it is ready, then everything that comes is passed on to it.

A request in the middle of its start ends the WebUI, and somebody always asks: a probe, a proxy, an open page. So it
listens on a port that nobody knows, and this program opens the known one when a line comes on standard input, and says
so with a line on standard output. Until then connections are refused. After SIGTERM no new ones are taken and open ones
go on; when standard input is closed it ends.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import socket
import sys

CHUNK = 1 << 16
LOOPBACK = "127.0.0.1"


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One direction of a connection, until its end."""
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


async def serve(listener: socket.socket, inner: int) -> None:
    """Wait for the line that opens the port, and keep it open until standard input is closed."""
    loop = asyncio.get_running_loop()
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    if not await orders.readline():
        return

    async def visitor(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(LOOPBACK, inner)
        except OSError:
            writer.close()
            return
        await asyncio.gather(carry(reader, back), carry(there, writer))
        for end in (writer, back):
            end.close()

    server = await asyncio.start_server(visitor, sock=listener)
    loop.add_signal_handler(signal.SIGTERM, server.close)
    print("open", flush=True)
    await orders.read()


def main() -> None:
    """Take the port at once, so that one that is in use is known at once; exit 1 with one sentence then."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="the known port, on loopback")
    parser.add_argument("--inner", type=int, required=True, help="the port that the service listens on")
    options = parser.parse_args()
    # Until the port is open a SIGTERM has nothing to close; the end of standard input ends it.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, options.port))
    except OSError as error:
        sys.exit(f"port {options.port} cannot be taken: {error.strerror}")
    asyncio.run(serve(listener, options.inner))
