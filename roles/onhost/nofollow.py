"""What root reads in places where a service can write, whatever links, FIFOs and huge files it has put there.

Root reaches such a place by directory descriptors, component by component, and follows no link that the service could
have made (shell commands act as the service's user instead: roles.facts.seen.as_user). nofollow_changes writes there.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
from collections.abc import Iterator
from typing import IO, Any

from roles.onhost import files
from roles.onhost.files import SMALL

LINKS = 20
"""Links in one path; more are a loop."""
DEEPEST = 30
"""Folders within folders that are walked."""
MOST_NAMES = 1_000_000
"""Names in one folder that are read; a service can make as many as its disk has inodes."""
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""O_NONBLOCK: opening a FIFO must not wait for somebody to write."""


class UnsafeError(OSError):
    """The place is not what it must be; the text is for a person, and nothing was done there."""


@contextlib.contextmanager
def folder(path: str | os.PathLike[str]) -> Iterator[int]:
    """A descriptor of the folder at an absolute path. FileNotFoundError, or UnsafeError for a planted link."""
    opened = open_folder(path)
    try:
        yield opened
    finally:
        os.close(opened)


def open_folder(path: str | os.PathLike[str]) -> int:
    """The same, to be closed by the caller."""
    text = os.fspath(path)
    if not os.path.isabs(text):
        raise UnsafeError(f"{text} is no absolute path")
    left, links = _parts(text), 0
    opened = os.open("/", FOLDER)
    try:
        while left:
            name = left.pop(0)
            if name == "..":
                raise UnsafeError(f"{text}: a path with .. is not followed")
            found = os.stat(name, dir_fd=opened, follow_symlinks=False)
            if stat.S_ISLNK(found.st_mode):
                links += 1
                if links > LINKS or not _only_ours(opened):
                    raise UnsafeError(f"{text}: {name} is a link that a service may have made; it is not followed")
                target = os.path.normpath(os.path.join(_name_of(opened), os.readlink(name, dir_fd=opened)))
                left, name = [*_parts(target), *left], "/"
            elif not stat.S_ISDIR(found.st_mode):
                raise UnsafeError(f"{text}: {name} is no folder")
            # Between the look and this a folder can only become something that is not opened.
            below = os.open(name, FOLDER, dir_fd=opened)
            os.close(opened)
            opened = below
    except BaseException:
        os.close(opened)
        raise
    return opened


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _name_of(opened: int) -> str:
    return os.readlink(f"/proc/self/fd/{opened}")


def _only_ours(opened: int) -> bool:
    """Whether nobody but root, and who runs this, can put names into a folder."""
    found = os.fstat(opened)
    return found.st_uid in (0, os.geteuid()) and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


@contextlib.contextmanager
def beside(path: str | os.PathLike[str]) -> Iterator[tuple[int, str]]:
    """The folder of what a path names, as a descriptor, and its name there."""
    parent, name = os.path.split(os.fspath(path))
    if name in ("", ".", ".."):
        raise UnsafeError(f"{os.fspath(path)} names nothing")
    with folder(parent) as opened:
        yield opened, name


def open_file(path: str | os.PathLike[str], owner: int | None = None) -> IO[bytes]:
    """A regular file, open for reading; UnsafeError for anything else, or if it does not belong to the uid `owner`."""
    with beside(path) as (parent, name):
        return open_in(parent, name, owner)


def open_in(parent: int, name: str, owner: int | None = None) -> IO[bytes]:
    """The same of a name in an open folder."""
    try:
        opened = os.open(name, FILE, dir_fd=parent)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UnsafeError(f"{name} is no file: {error.strerror}") from error
    found = os.fstat(opened)
    if not stat.S_ISREG(found.st_mode) or owner not in (None, found.st_uid):
        os.close(opened)
        raise UnsafeError(f"{name} is no regular file" if owner is None else f"{name} is not a file of its owner")
    return os.fdopen(opened, "rb")


def read(path: str | os.PathLike[str], limit: int = SMALL, owner: int | None = None) -> bytes:
    """The content of a file of at most `limit` bytes. FileNotFoundError, UnsafeError."""
    with beside(path) as (parent, name):
        return read_in(parent, name, limit, owner)


def read_in(parent: int, name: str, limit: int = SMALL, owner: int | None = None) -> bytes:
    """The same of a name in an open folder."""
    with open_in(parent, name, owner) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise UnsafeError(f"{name} has more than {limit} bytes")
    return content


def read_json(path: str | os.PathLike[str], limit: int = SMALL, owner: int | None = None) -> dict[str, Any]:
    """The object in a JSON file; an empty one if there is none, or it is damaged or unsafe."""
    try:
        return files.json_object(read(path, limit, owner))
    except OSError:
        return {}


def files_below(path: str | os.PathLike[str], links: bool = False) -> Iterator[tuple[str, int, str]]:
    """Every regular file below a folder, as path below it, descriptor of its folder and name there.

    + links: whether links are told too; they are not followed
    """
    with folder(path) as top:
        yield from _files_in(top, "", DEEPEST, links)


def _files_in(opened: int, above: str, depth: int, links: bool) -> Iterator[tuple[str, int, str]]:
    with os.scandir(opened) as entries:
        there = list(itertools.islice(entries, MOST_NAMES + 1))
        if len(there) > MOST_NAMES:
            raise UnsafeError(f"{_name_of(opened)} holds more than {MOST_NAMES} files")
        names = sorted((entry.name, entry.is_dir(follow_symlinks=False), entry.is_file(follow_symlinks=False)
                        or (links and entry.is_symlink()))
                       for entry in there)  # fmt: skip
    for name, is_folder, is_file in names:
        if is_file:
            yield f"{above}{name}", opened, name
        elif is_folder and depth:
            try:
                below = os.open(name, FOLDER, dir_fd=opened)
            except OSError:
                continue  # it is something else by now
            try:
                yield from _files_in(below, f"{above}{name}/", depth - 1, links)
            finally:
                os.close(below)


def exists(path: str | os.PathLike[str]) -> bool:
    """Whether something has that name, if only a link that leads nowhere."""
    try:
        with beside(path) as (parent, name):
            os.lstat(name, dir_fd=parent)
    except FileNotFoundError:
        return False
    return True


def target_of(path: str | os.PathLike[str]) -> str:
    """What is written in a link; empty if there is none of that name."""
    try:
        with beside(path) as (parent, name):
            return os.readlink(name, dir_fd=parent)
    except FileNotFoundError:
        return ""
    except OSError as error:
        if isinstance(error, UnsafeError):
            raise
        return ""
