"""What root changes in places where a service can write: files, folders and links, reached as nofollow reaches them."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import secrets
import stat

from roles.onhost import files
from roles.onhost.nofollow import FOLDER, UnsafeError, beside, folder, open_folder

NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def write(path: str | os.PathLike[str], content: bytes, mode: int = 0o644, alike: bool = False) -> None:
    """Put a file under a name in one step, durably; what stands there, a link too, is replaced and not followed.

    + alike: whether it belongs to its folder's owner, who goes on writing it
    """
    with beside(path) as (parent, name):
        write_in(parent, name, content, mode, alike)


def write_in(parent: int, name: str, content: bytes, mode: int = 0o644, alike: bool = False) -> None:
    """The same of a name in an open folder."""
    fresh = _fresh(name)
    opened = os.open(fresh, NEW, mode, dir_fd=parent)
    try:
        with os.fdopen(opened, "wb") as file:
            if alike:
                os.fchown(file.fileno(), *_owner_below(parent))
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.rename(fresh, name, src_dir_fd=parent, dst_dir_fd=parent)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(fresh, dir_fd=parent)
        raise
    os.fsync(parent)


def make_folder(path: str | os.PathLike[str], uid: int, gid: int, mode: int) -> None:
    """Have a folder of that owner and mode, whose parent is there; what is in it is left alone.

    UnsafeError if a link or a file has its name.
    """
    with beside(path) as (parent, name):
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=parent)
        try:
            opened = os.open(name, FOLDER, dir_fd=parent)
        except OSError as error:
            raise UnsafeError(f"{os.fspath(path)} is no folder but a link or a file: move it away") from error
        try:
            os.fchown(opened, uid, gid)
            os.fchmod(opened, mode)
        finally:
            os.close(opened)


def make_alike(path: str | os.PathLike[str]) -> None:
    """Have a folder, and those above it, owned as the nearest that is there: a service goes on owning its tree."""
    try:
        os.close(open_folder(path))
    except FileNotFoundError:
        above = os.path.dirname(os.fspath(path))
        make_alike(above)
        with folder(above) as opened:
            uid, gid = _owner_below(opened)
        make_folder(path, uid, gid, 0o755)


def _owner_below(opened: int) -> tuple[int, int]:
    """uid and gid of who owns what comes into a folder: the folder's owner.

    A service's home can be root's, with the sticky bit and for its group to write: there it is that group's user.
    """
    found = os.fstat(opened)
    if found.st_uid == 0 and found.st_gid != 0 and found.st_mode & stat.S_ISVTX and found.st_mode & stat.S_IWGRP:
        return pwd.getpwnam(grp.getgrgid(found.st_gid).gr_name).pw_uid, found.st_gid
    return found.st_uid, found.st_gid


def link(path: str | os.PathLike[str], target: str) -> None:
    """Set a symbolic link in one step, in the place of whatever file or link has its name."""
    with beside(path) as (parent, name):
        fresh = _fresh(name)
        os.symlink(target, fresh, dir_fd=parent)
        try:
            os.rename(fresh, name, src_dir_fd=parent, dst_dir_fd=parent)
        except OSError:
            os.unlink(fresh, dir_fd=parent)
            raise


def unlink(path: str | os.PathLike[str]) -> None:
    """Remove a name that is no folder."""
    with beside(path) as (parent, name):
        os.unlink(name, dir_fd=parent)


def remove_in(parent: int, name: str) -> None:
    """Remove a name in an open folder, whatever it is, with all that is in it; nothing if it is not there."""
    files.remove(f"/proc/self/fd/{parent}/{name}", pass_fds=(parent,))


def _fresh(name: str) -> str:
    """A name that nobody can have foreseen."""
    return f".{name[:100]}.{secrets.token_hex(8)}.new"
