"""Files that are replaced atomically: a reader, or the next start after a crash, finds the old content or the new."""

import contextlib
import glob
import os
from collections.abc import Iterator
from pathlib import Path

SUFFIX = ".part"
"""Ending of a file that is not complete; its name begins with a dot."""


@contextlib.contextmanager
def replaced(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A path beside `path` to write to. It replaces `path` at the end, and is removed after an exception.

    + durable: whether the content is on disk before it replaces the old one; a cache does not need that
    """
    if durable:
        _remove_abandoned(path)
    part = path.with_name(f".{path.name}.{os.getpid()}{SUFFIX}")
    try:
        part.touch()
        mode = part.stat().st_mode  # as for any new file; safetensors' writer leaves one that its owner alone can read
        yield part
        part.chmod(mode)
        if durable:
            with part.open("rb+") as file:
                os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def _remove_abandoned(path: Path) -> None:
    """Remove what killed processes left of `path`: it may be as large as a checkpoint. Files of a cache are small."""
    for part in path.parent.glob(f".{glob.escape(path.name)}.*{SUFFIX}"):
        process = part.name.removesuffix(SUFFIX).rpartition(".")[2]
        if process.isdecimal() and not Path("/proc", process).exists():
            with contextlib.suppress(OSError):
                part.unlink()
