"""Files in folders where only root or the program itself writes; for all others there is nofollow."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

SMALL = 4_000_000
"""Bytes of a text that is read whole."""
MOST_VALUES = 4_000_000
"""Values and containers in a JSON text that is read: 64 MB of "[[[]]]," would take 2.5 GB of memory."""


def write(file: Path, content: str | bytes, mode: int = 0o644) -> None:
    """Write a file beside its place, then rename it: after a power cut it is the old or the new one.

    Raises OSError with the file's name.
    """
    fresh = file.with_name(f".{file.name}.new")
    data = content.encode() if isinstance(content, str) else content
    try:
        with contextlib.suppress(FileNotFoundError):
            fresh.unlink()  # left by a program that was killed, perhaps with another mode
        opened = os.open(str(fresh), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(opened, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        fresh.replace(file)
    except OSError as error:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise OSError(error.errno, error.strerror, str(file)) from error


def remove(place: str | Path, *, pass_fds: tuple[int, ...] = ()) -> None:
    """Remove whatever has that name, with all that is in it; nothing if there is none. OSError with the file's name.

    By `rm`: Python's rmtree needs a call and a descriptor for each level, and stops where folders lie deeper than that.
    It follows no link either.
    """
    command = ["rm", "-rf", "--", str(place)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, pass_fds=pass_fds, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise OSError(errno.EIO, said[-1] if said else f"rm ended with {done.returncode}", str(place))


def read_json(file: Path, limit: int = SMALL) -> dict[str, Any]:
    """The object in a JSON file; an empty one if there is none or it is damaged, too long or no regular file."""
    return json_object(read(file, limit))


def read(file: Path, limit: int = SMALL) -> bytes:
    """The content of a file; nothing if there is none, or if it is too long or no regular file.

    An extension of the WebUI can leave a FIFO or an endless file there: reading it would never end.
    """
    with contextlib.suppress(OSError):
        opened = os.open(str(file), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(opened, "rb") as stream:
            if stat.S_ISREG(os.fstat(opened).st_mode):
                content = stream.read(limit + 1)
                return content if len(content) <= limit else b""
    return b""


def json_object(text: bytes) -> dict[str, Any]:
    """The object in a JSON text; an empty one if it is damaged, holds something else or too many values."""
    if sum(text.count(sign) for sign in (b",", b"[", b"{")) > MOST_VALUES:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
