"""The user's files: replaced atomically, durably, and by one writer at a time; and where sdfleet keeps its own."""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from inventory.errors import SdfleetError


def state_folder() -> Path:
    """The user's folder for what sdfleet itself keeps on this machine."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "sdfleet"


def replace_file(file: Path, content: str | bytes, *, mode: int | None = None, durable: bool = True) -> None:
    """Replace the content of `file` atomically: after a power cut or on a full disk it is the old or the new one.

    + mode: without it the file keeps its own; a new one gets one from the umask
    + durable: if not, a power cut may damage it; but a busy disk, which can take minutes, is not waited for
    Raises SdfleetError if it cannot be written.
    """
    file = file.resolve()  # replace a link's target, not the link
    data = content.encode() if isinstance(content, str) else content
    try:
        if mode is None:
            mode = file.stat().st_mode & 0o777 if file.exists() else 0o666 & ~_umask()
        handle, name = tempfile.mkstemp(prefix=f".{file.name}.", suffix=".new", dir=file.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                os.fchmod(stream.fileno(), mode)
                stream.write(data)
                if durable:
                    stream.flush()
                    os.fsync(stream.fileno())
            Path(name).replace(file)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise
        if durable:
            _sync(file.parent)
    except OSError as error:
        raise SdfleetError(f"{file}: cannot be written: {error.strerror or error}; it was not changed") from error


def _sync(folder: Path) -> None:
    """Have a rename in the folder outlive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def held(file: Path) -> Iterator[None]:
    """Make other commands wait while this one reads and replaces `file`.

    Locks the folder, because the file itself is replaced.
    """
    folder = os.open(file.resolve().parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _umask() -> int:
    now = os.umask(0o077)
    os.umask(now)
    return now
