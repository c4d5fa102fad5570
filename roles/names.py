"""Validates names given by sources, mirrors and locks that become paths, revisions and addresses on a host."""

import re
from collections.abc import Iterable
from pathlib import PurePath
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

LONGEST_PATH = 1024
LONGEST_PART = 255
"""Bytes of a name; the limit of Linux file systems."""
SHOWN = 120
REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")


def file_path(path: str) -> str:
    """`path`, if it is a printable path below some folder. ValueError if not."""
    parts = path.split("/")
    if not path.isprintable() or "\\" in path or len(path.encode()) > LONGEST_PATH:
        raise ValueError(f"{path[:SHOWN]!r} is no name of a file")
    if any(part in ("", ".", "..") or len(part.encode()) > LONGEST_PART for part in parts):
        raise ValueError(f"{path[:SHOWN]!r} is no path below a folder")
    return path


def revision(text: str) -> str:
    """`text`, if it can be a commit, branch, tag or version; "" is none."""
    if text and (not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+/-]{0,199}", text) or ".." in text or "//" in text):
        raise ValueError(f"{text[:SHOWN]!r} is no revision")
    return text


def address(url: str) -> str:
    """`url`, if models can be downloaded from it: on one line, without a login."""
    parts = urlsplit(url)
    web = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
    spelled = url.isprintable() and (parts.scheme == "file" or not any(sign in url for sign in ' "<>\\'))
    if not spelled or not (web or parts.scheme in ("file", "host")):
        raise ValueError(f"{url[:SHOWN]!r} is no address of a file")
    return url


def repository(name: str) -> str:
    """`name`, if it is an OWNER/NAME; ValueError if not."""
    if not REPOSITORY.fullmatch(name) or ".." in name:
        raise ValueError(f"{name[:SHOWN]!r} is no OWNER/NAME")
    return name


def line(text: str) -> str:
    """`text` on one line, without unprintable characters."""
    return "".join(sign for sign in " ".join(text.split()) if sign.isprintable())


def below(path: PurePath, folders: Iterable[PurePath]) -> bool:
    """Whether a path is absolute, without `..`, and below one of the folders; the file system is not consulted."""
    return path.is_absolute() and ".." not in path.parts and any(folder in path.parents for folder in folders)


FilePath = Annotated[str, AfterValidator(file_path)]
Revision = Annotated[str, AfterValidator(revision)]
Address = Annotated[str, AfterValidator(address)]
Line = Annotated[str, AfterValidator(line)]
Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
