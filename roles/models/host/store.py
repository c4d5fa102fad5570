"""The content-addressed store: a file gets its final name only when its bytes are verified and on disk."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from roles.onhost.lock_file import open_lock

LOCK_WAIT_SECONDS = 10
"""How long a sync waits for another one; that of a killed controller ends within a second."""


class Problem(Exception):
    """A problem for the user: one sentence; of a model if it names no path."""


class Store:
    """Files by sha256 below `root`, unfinished ones below root/partial."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.partials = root / "partial"

    def blob(self, sha256: str) -> Path:
        """The path of the file with that hash, present or not."""
        return self.root / "sha256" / sha256[:2] / sha256

    def partial(self, sha256: str) -> Path:
        """The path of that file while it is incomplete."""
        return self.partials / sha256

    def has(self, sha256: str, size: int | None) -> bool:
        """Whether the file is present, by name and size; its hash was checked before it got the name."""
        try:
            found = self.blob(sha256).stat().st_size
        except FileNotFoundError:
            return False
        return size is None or found == size

    def prepare(self) -> None:
        """Create the folders, readable by the services and writable by root only."""
        for folder in (self.root, self.root / "sha256", self.partials):
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)

    def seal(self, sha256: str) -> None:
        """Give a checked partial file its final name, durably."""
        partial, blob = self.partial(sha256), self.blob(sha256)
        blob.parent.mkdir(mode=0o755, exist_ok=True)
        with partial.open("rb") as file:
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        partial.rename(blob)
        for folder in (blob.parent, blob.parent.parent):
            sync_folder(folder)

    def free(self) -> int:
        """Bytes that root can write to the store's file system."""
        status = os.statvfs(self.root)
        return status.f_bfree * status.f_frsize

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Lock out other syncs; Problem if one is still running after LOCK_WAIT_SECONDS."""
        with os.fdopen(open_lock(self.root / "lock"), "r+") as file:
            deadline = time.monotonic() + LOCK_WAIT_SECONDS
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        file.seek(0)
                        holder = file.read().strip() or "unknown"
                        said = f"another sync (process {holder}) is at work; run again when it is done"
                        raise Problem(said) from None
                    time.sleep(0.2)
            file.seek(0)
            file.truncate()
            file.write(str(os.getpid()))
            file.flush()
            yield


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
