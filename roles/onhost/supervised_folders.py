"""Folders and files that a service has while it runs, below folders of root's: /run, /var/cache."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from pathlib import Path
from typing import Any

from roles.onhost import files, supervisor

CACHES, RUNTIME = Path("/var/cache"), Path("/run")


def make(unit: str, its: dict[str, Any]) -> None:
    """Make them for the service's user."""
    if its["runtime_folder"]:
        if not its.get("runtime_kept"):
            files.remove(RUNTIME / its["runtime_folder"])  # what an earlier runner left that was killed
        _own(RUNTIME / its["runtime_folder"], its["user"], its["runtime_mode"])
    if its["cache_folder"]:
        _own(CACHES / its["cache_folder"], its["user"], 0o755)
    if its["credentials"]:
        folder = supervisor.SECRETS / unit
        folder.parent.mkdir(parents=True, exist_ok=True)
        files.remove(folder)
        folder.mkdir(mode=0o700)  # whoever could open a file before it is written could read it afterwards
        for name, source in its["credentials"].items():
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(str(folder / name), flags, 0o400), "wb") as copy:
                copy.write(Path(source).read_bytes())
                shutil.chown(copy.fileno(), its["user"])
        folder.chmod(0o500)
        shutil.chown(folder, its["user"])


def _own(folder: Path, user: str, mode: int) -> None:
    """A folder of the service's own, in one of root's."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    if not stat.S_ISDIR(folder.lstat().st_mode):
        raise NotADirectoryError(20, "is no folder", str(folder))
    shutil.chown(folder, user, user)
    folder.chmod(mode)


def keep(unit: str) -> None:
    """Say that the service is only restarted: what then stays of it is not to be cleared."""
    place = supervisor.KEEPS / unit
    place.parent.mkdir(parents=True, exist_ok=True)
    place.touch()


def clear(unit: str, its: dict[str, Any]) -> None:
    """Remove what goes with the service."""
    restarted = supervisor.KEEPS / unit
    kept = its.get("runtime_kept") and restarted.exists()
    with contextlib.suppress(FileNotFoundError):
        restarted.unlink()
    if its["runtime_folder"] and not kept:
        files.remove(RUNTIME / its["runtime_folder"])
    if its["credentials"]:
        files.remove(supervisor.SECRETS / unit)


def remove_cache(unit: str) -> None:
    """Remove what a service keeps between its runs, as it is not to run again."""
    with contextlib.suppress(OSError, ValueError):  # its file is gone, or damaged
        if folder := supervisor.described(unit)["cache_folder"]:
            files.remove(CACHES / folder)


def clear_all() -> None:
    """Remove what goes with any service: a container that was stopped keeps its /run."""
    for file in sorted((supervisor.HOME / "services").glob("*.service")):
        with contextlib.suppress(ValueError, KeyError):  # a damaged file is told when its unit is started
            clear(file.name, supervisor.described(file.name))
