"""List or delete files of a host's store that nothing needs. Runs there; see the package's docstring."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

from roles.onhost.lock_file import open_lock


def main(store: str, places: list[str], needed: list[str], delete: list[str]) -> dict[str, Any]:
    """Files (path -> bytes) that no link below `places` points to and whose sha256 is not in `needed`.

    Deletes those that are in `delete`, while no sync runs; a file that is needed by now stays.
    """
    folder = Path(store)
    if not folder.is_dir():
        return {"files": {}}
    with os.fdopen(open_lock(folder / "lock"), "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return {"error": "models are being downloaded; try again when that is done"}
        named = {target for place in places for target in _targets(Path(place))} | set(needed)
        there = [*folder.glob("sha256/*/*"), *folder.glob("partial/*")]
        files = {str(file): file.stat().st_size for file in there if file.is_file() and file.name not in named}
        for file in set(delete) & files.keys():
            Path(file).unlink()
    return {"files": files}


def _targets(place: Path) -> set[str]:
    """Names of the targets of all links below a folder, and of their final targets."""
    found: set[str] = set()
    for folder, folders, files in os.walk(place):
        for name in [*files, *folders]:
            path = Path(folder, name)
            if path.is_symlink():
                found |= {path.readlink().name, path.resolve().name}
    return found
