"""Take models that are on a host already into its store. Runs there as root; see the package's docstring.

The folder may belong to another user: it is read by descriptors, without following links, and is not changed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import stat
from pathlib import Path
from typing import IO, Any

from deploy.onhost.hashing import CHUNK, sha256_of
from roles.onhost import nofollow, nofollow_changes, tensor_names
from roles.onhost.confined import StrangeFileError
from roles.onhost.lock_file import open_lock

CLONE = 0x40049409
"""FICLONE of linux/fs.h: a copy that shares the file's blocks until one of the two is written."""
LEAST_WRITTEN = 4
"""A file of which less than one part in so many was ever written is no model; hashing its holes would take too long."""


def main(folder: str, store: str, suffixes: list[str], patterns: list[list[str]], copy: bool) -> dict[str, Any]:
    """Put every model file below `folder` where the store's own program finds it; `files` has the result of each.

    `patterns` are pairs of an expression for names of tensors and the kind that has them, the most telling first.
    """
    root, found = Path(store), []
    for part in (root, root / "sha256", root / "partial"):
        part.mkdir(mode=0o755, parents=True, exist_ok=True)
    with os.fdopen(open_lock(root / "lock"), "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return {"error": "models are being downloaded; try again when that is done"}
        try:
            for path, parent, name in nofollow.files_below(folder):
                if Path(name).suffix.lower() in suffixes:
                    found.append({"path": path, **_adopt(parent, name, root, patterns, copy)})
        except FileNotFoundError:
            return {"error": f"no folder {folder}"}
        except OSError as error:
            return {"error": str(error)}
    return {"files": found}


def _adopt(parent: int, name: str, store: Path, patterns: list[list[str]], copy: bool) -> dict[str, Any]:
    """One file: its size, sha256 and kind, and `how` it came to store/partial/SHA256, or `why` not."""
    part = store / "partial" / f"adopt-{secrets.token_hex(8)}"
    try:
        with nofollow.open_in(parent, name) as file:
            seen = os.fstat(file.fileno())
            size = seen.st_size
            if seen.st_blocks * 512 < size // LEAST_WRITTEN:
                return {"why": "most of it was never written (a sparse file)"}
            how = _take(file.fileno(), part, copy)
            # Hash the store's own file: the owner of the other one may write to it at any time.
            with (part if part.exists() else Path(f"/proc/self/fd/{file.fileno()}")).open("rb") as own:
                digest, kind = sha256_of(own, os.fstat(own.fileno()).st_size), _kind(own, patterns)
        told = {"size": size, "sha256": digest, "kind": kind}
        blob = store / "sha256" / digest[:2] / digest
        if blob.exists():
            return {**told, "how": "there"}
        if not part.exists():
            return {**told, "why": how}
        part.rename(store / "partial" / digest)
        return {**told, "how": how}
    except OSError as error:
        return {"why": error.strerror or str(error)}
    finally:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()


def _take(file: int, part: Path, copy: bool) -> str:
    """Make `part` from an open file and return how; or return why not, and leave no `part`."""
    new = os.open(part, nofollow_changes.NEW, 0o644)
    try:
        os.fchmod(new, 0o644)
        try:
            fcntl.ioctl(new, CLONE, file)
            return "shared"
        except OSError:
            pass
        if copy:
            left = os.statvfs(part.parent)
            if os.fstat(file).st_size > left.f_bavail * left.f_frsize:
                part.unlink()
                return "no space for a copy"
            while block := os.read(file, CHUNK):
                os.write(new, block)
            return "copied"
    finally:
        os.close(new)
    part.unlink()
    seen = os.fstat(file)
    if seen.st_uid != 0 or seen.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "other users than root may write to it, so it cannot be linked; to copy it, use --copy"
    if not seen.st_mode & stat.S_IROTH:
        return "services cannot read it, so it cannot be linked; to copy it, use --copy"
    try:
        # Link the open file itself, not what has its name now. Without a descriptor Python would not follow the link.
        os.link(f"/proc/self/fd/{file}", part, src_dir_fd=file, follow_symlinks=True)
    except OSError:
        return "it is on another file system, so it cannot be linked; to copy it, use --copy"
    return "linked"


def _kind(file: IO[bytes], patterns: list[list[str]]) -> str:
    """The kind that the names of its tensors show; empty if none."""
    try:
        told = tensor_names.ask(file)
    except StrangeFileError:
        return ""
    return next((kind for pattern, kind in patterns if any(re.match(pattern, name) for name in told)), "")
