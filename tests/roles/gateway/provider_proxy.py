"""A provider's proxy in front of a rented host: TLS, another Host, perhaps a path, and an end to what takes too long.

    provider_proxy.py --listen HOST:PORT --to HOST:PORT --certificate FILE --key FILE
        [--path PATH] [--keep-path] [--host NAME] [--first-byte S] [--silence S] [--at-most S]

One request a connection, but for websockets. Only the standard library: it runs in a lab's network.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ssl
import sys
from pathlib import Path

BLOCK = 65536
TIMED_OUT = b"HTTP/1.1 524 A Timeout Occurred\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
"""What Cloudflare says."""
NOT_HERE = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Proxy:
    """The proxy; its options are those of the command line."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a browser."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(self.options.at_most):
                await self.pass_on(reader, writer)
        writer.close()

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = self.changed(await reader.readuntil(b"\r\n\r\n"), writer.get_extra_info("peername")[0])
        if not head:
            writer.write(NOT_HERE)
            await writer.drain()
            return
        there, to = await asyncio.open_connection(*place(self.options.to))
        try:
            to.write(head)
            sending = asyncio.create_task(relay(reader, to))
            try:
                first = await asyncio.wait_for(there.read(BLOCK), self.options.first_byte)
            except TimeoutError:
                first = TIMED_OUT
            writer.write(first)
            if first is not TIMED_OUT:
                await relay(there, writer, self.options.silence)
            await writer.drain()
            sending.cancel()
        finally:
            to.close()

    def changed(self, head: bytes, peer: str) -> bytes:
        """The head of a request as it is passed on; empty for one outside of the path."""
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        method, target, version = first.split(" ")
        path = self.options.path
        if path and target != path and not target.startswith(f"{path}/"):
            return b""
        if path and not self.options.keep_path:
            target = target[len(path) :] or "/"
        upgrades = any(line.lower().startswith("upgrade:") for line in lines)
        dropped = ("host:", "x-forwarded-for:", *(() if upgrades else ("connection:",)))
        kept = [line for line in lines if not line.lower().startswith(dropped)]
        old = next(line for line in lines if line.lower().startswith("host:"))
        own = [f"Host: {self.options.host}" if self.options.host else old, f"X-Forwarded-For: {peer}"]
        own += [] if upgrades else ["Connection: close"]
        return "\r\n".join([f"{method} {target} {version}", *own, *kept, "", ""]).encode("latin-1")


async def relay(source: asyncio.StreamReader, sink: asyncio.StreamWriter, silence: float | None = None) -> None:
    """Pass bytes on until there are no more, or none for `silence` s."""
    with contextlib.suppress(OSError):
        while block := await asyncio.wait_for(source.read(BLOCK), silence):
            sink.write(block)
            await sink.drain()


def place(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


async def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--listen", "--to"):
        parser.add_argument(name, required=True, metavar="HOST:PORT")
    for name in ("--certificate", "--key"):
        parser.add_argument(name, required=True, type=Path)
    parser.add_argument("--path", default="", help="the path below which it shows the host")
    parser.add_argument("--keep-path", action="store_true", help="pass the path on")
    parser.add_argument("--host", default="", help="the Host that the host sees")
    parser.add_argument("--first-byte", type=float, help="s that an answer may take to begin")
    parser.add_argument("--silence", type=float, help="s without a byte of an answer after which it is cut")
    parser.add_argument("--at-most", type=float, help="s after which any connection is cut")
    options = parser.parse_args()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.certificate, options.key)
    server = await asyncio.start_server(Proxy(options).serve, *place(options.listen), ssl=context)
    print("listening", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
