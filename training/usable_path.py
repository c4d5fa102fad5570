"""Validates paths of configs, fleet files and scripts. Imports without torch."""

import os
import re
from pathlib import Path

LONGEST_NAME, LONGEST_PATH = 255, 4095
"""Linux's limits in bytes."""


_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|.*\\", re.DOTALL)
_URL = re.compile(r"(https?|ftp|s3|hf|git|ssh):/", re.IGNORECASE)  # a Path has lost the second slash


def foreign(text: str | Path, where: str = "this machine") -> str:
    """What a text is that is no path of Linux, as the end of a sentence; empty if it can be one.

    + where: the machine that would have the path
    """
    if _URL.match(str(text)):
        return "is a URL; download it, and write the path of the file"
    if _WINDOWS.match(str(text)):
        return f"is a Windows path; write its path on {where}, with /"
    return ""


def why_missing(path: str | Path, hint: str = "no such file") -> str:
    """Why there is no file at `path`, as the end of a sentence."""
    return foreign(path) or hint


def usable_path(text: str | Path) -> Path:
    """The path with a leading ~ or ~USER expanded.

    Raises ValueError with the path if it is a URL or of Windows and no file has that name, if there is no such home
    folder, or if no file can have this path.
    """
    path = Path(text)
    if (why := foreign(text)) and not _exists(path):
        raise ValueError(f"{_short(text)} {why}")
    try:
        found = path.expanduser()
    except (RuntimeError, ValueError) as error:
        user = path.parts[0][1:]
        missing = f"there is no user {user!r} on this machine" if user else "your home folder is not known"
        raise ValueError(f"{_short(path)}: {missing}; write the whole path") from error
    try:
        data = os.fsencode(found)
    except UnicodeEncodeError as error:
        raise ValueError(f"{_short(path)} has half a character in it; write the name as the file has it") from error
    if b"\0" in data:
        raise ValueError(f"{_short(path)} has a null character in it, which no path has")
    if len(data) > LONGEST_PATH or any(len(name) > LONGEST_NAME for name in data.split(b"/")):
        raise ValueError(f"{_short(path)} is too long: a name has {LONGEST_NAME} bytes at most, a path {LONGEST_PATH}")
    return found


def _exists(path: Path) -> bool:
    """Archives that were packed on Windows leave files with \\ in their names."""
    try:
        return os.path.lexists(path.expanduser())
    except (RuntimeError, ValueError):
        return False


def _short(path: str | Path) -> str:
    text = str(path)
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
