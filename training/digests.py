"""SHA-256 of files, cached by path, size and time, so that gigabytes are hashed once."""

import hashlib
import json
from pathlib import Path

from training import atomic_file


class Digests:
    """SHA-256 of files; `store` is the JSON file that caches them between runs."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._known: dict[str, str] = {}
        self._changed = False
        try:
            self._known = json.loads(store.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            # A lost or damaged cache only costs time.
            self._known = {}

    def of(self, path: Path) -> str:
        """The digest of a file; of a folder, the digest of its files' names and digests."""
        if path.is_dir():
            parts = [f"{file.relative_to(path)} {self.of(file)}" for file in sorted(path.rglob("*")) if file.is_file()]
            return hashlib.sha256("\n".join(parts).encode()).hexdigest()
        stat = path.stat()
        key = f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}"
        if key not in self._known:
            self._known[key] = sha256_of(path)
            self._changed = True
        return self._known[key]

    def save(self) -> None:
        """Write the cache, if it has changed. Runs may share the file."""
        if self._changed:
            self._store.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file.replaced(self._store, durable=False) as part:
                part.write_text(json.dumps(self._known, indent=0), encoding="utf-8")
            self._changed = False


def sha256_of(file: Path) -> str:
    """The SHA-256 of a file's content, not from the cache."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
