"""Read the METADATA of a wheel without downloading the rest of it."""

import io
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import requests

from lab.downloads import TIMEOUT

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BLOCK = 1 << 16
"""Smallest request, in bytes; a wheel's directory and METADATA at its end mostly fit into one."""


class RemoteFile(io.RawIOBase):
    """A file on an HTTP server, read with Range requests."""

    def __init__(self, url: str, session: requests.Session) -> None:
        """Ask for its size. Raises ConnectionError if the server does not support Range."""
        super().__init__()
        self.url, self.session, self.offset = url, session, 0
        with session.head(url, timeout=TIMEOUT, allow_redirects=True, headers={"Accept-Encoding": "identity"}) as head:
            head.raise_for_status()
            if head.headers.get("Accept-Ranges") != "bytes" or "Content-Length" not in head.headers:
                raise ConnectionError(f"the server of {url} does not support Range")
            self.size = int(head.headers["Content-Length"])

    def readable(self) -> bool:
        """Called by io."""
        return True

    def seekable(self) -> bool:
        """Called by io."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Called by io."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self.offset, io.SEEK_END: self.size}[whence]
        self.offset = start + offset
        return self.offset

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Called by io."""
        view = memoryview(buffer)
        last = min(self.offset + len(view), self.size) - 1
        if last < self.offset:
            return 0
        wanted = {"Range": f"bytes={self.offset}-{last}", "Accept-Encoding": "identity"}
        with self.session.get(self.url, headers=wanted, timeout=TIMEOUT) as answer:
            if answer.status_code != requests.codes.partial_content:
                raise ConnectionError(f"{self.url}: asked for a range, got status {answer.status_code}")
            data = answer.content
        view[: len(data)] = data
        self.offset += len(data)
        return len(data)


def of_remote_wheel(url: str, session: requests.Session) -> bytes:
    """METADATA of the wheel at `url`. Raises ConnectionError or requests.RequestException."""
    with io.BufferedReader(RemoteFile(url, session), BLOCK) as file, zipfile.ZipFile(file) as wheel:
        return _metadata(wheel)


def of_wheel(path: Path) -> bytes:
    """METADATA of the wheel at `path`."""
    with zipfile.ZipFile(path) as wheel:
        return _metadata(wheel)


def _metadata(wheel: zipfile.ZipFile) -> bytes:
    names = [name for name in wheel.namelist() if name.count("/") == 1 and name.endswith(".dist-info/METADATA")]
    if len(names) != 1:
        raise ConnectionError(f"the wheel has {len(names)} METADATA files, not one")
    return wheel.read(names[0])
