"""A cache of downloads: each URL is downloaded once, however many hosts ask, and can be read during the download."""

import hashlib
import os
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import requests

CHUNK = 1 << 18
TIMEOUT = (20, 120)
"""Seconds to connect, and between two chunks."""


class Download:
    """A download in progress; any number of threads may read it."""

    def __init__(self, response: requests.Response, final: Path) -> None:
        self.response, self.final = response, final
        length = None if "Content-Encoding" in response.headers else response.headers.get("Content-Length")
        self.size = None if length is None else int(length)
        self.part = final.with_name(f"{final.name}.{os.getpid()}.{threading.get_ident()}.part")
        self.file = self.part.open("w+b")
        self.got, self.done = 0, False
        self.error: Exception | None = None
        self.grown = threading.Condition()

    def run(self) -> None:
        """Download the file, then rename it to its final name; a truncated one never gets it."""
        try:
            for chunk in self.response.iter_content(CHUNK):
                self.file.write(chunk)
                self.file.flush()
                with self.grown:
                    self.got += len(chunk)
                    self.grown.notify_all()
            if self.size not in (None, self.got):
                raise ConnectionError(f"{self.response.url}: {self.got} of {self.size} bytes came")
            self.part.replace(self.final)
        except (OSError, requests.RequestException) as error:
            self.error = error
            self.part.unlink(missing_ok=True)
        finally:
            self.response.close()
            with self.grown:
                self.done = True
                self.grown.notify_all()

    def chunks(self) -> Iterator[bytes]:
        """Its bytes from the start, as they arrive; raises the download's error."""
        offset = 0
        while True:
            with self.grown:
                while self.got == offset and not self.done:
                    self.grown.wait()
                available = self.got
            while offset < available:
                data = os.pread(self.file.fileno(), min(CHUNK, available - offset), offset)
                offset += len(data)
                yield data
            if self.done and offset == self.got:
                break
        if self.error:
            raise self.error


class Downloads:
    """Downloaded files, kept in `folder`."""

    def __init__(self, folder: Path, session: requests.Session) -> None:
        self.folder, self.session = folder, session
        folder.mkdir(parents=True, exist_ok=True)
        self.running: dict[Path, Download] = {}
        self.locks: dict[Path, threading.Lock] = {}
        self.lock = threading.Lock()

    def get(self, url: str, max_age: float | None, headers: Mapping[str, str] | None = None) -> Path | Download:
        """The file at `url`: a path, or a download in progress.

        A copy older than `max_age` s is downloaded again; None keeps it forever. Raises
        requests.RequestException, HTTPError in particular if the server refuses.
        """
        path = self.folder / hashlib.sha256(url.encode()).hexdigest()
        with self.lock:
            lock = self.locks.setdefault(path, threading.Lock())
        with lock:
            if (running := self.running.get(path)) and not running.done:
                return running
            if _fresh(path, max_age):
                return path
            response = self.session.get(
                url, stream=True, timeout=TIMEOUT, headers={"Accept-Encoding": "identity", **(headers or {})}
            )
            response.raise_for_status()
            self.running[path] = download = Download(response, path)
            threading.Thread(target=self._finish, args=(path, download), daemon=True).start()
            return download

    def _finish(self, path: Path, download: Download) -> None:
        download.run()
        # Current readers keep the open file; it is closed when the last one is done.
        self.running.pop(path, None)

    def path(self, url: str, max_age: float | None, headers: Mapping[str, str] | None = None) -> Path:
        """Like `get`, but waits for the whole file."""
        found = self.get(url, max_age, headers)
        if isinstance(found, Path):
            return found
        for _ in found.chunks():
            pass
        return found.final


def _fresh(path: Path, max_age: float | None) -> bool:
    try:
        age = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return False
    return max_age is None or age < max_age
