"""Paths that a person wrote: in a config, a fleet's file, a script. Imports without torch."""

import os
from pathlib import Path

LONGEST_NAME, LONGEST_PATH = 255, 4095
"""Bytes that Linux takes."""


def usable_path(text: str | Path) -> Path:
    """The path, with the home folder in place of a leading ~ or ~USER.

    Raises ValueError, as a sentence that names the path, if there is no such home folder or no file can have the path.
    """
    path = Path(text)
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


def _short(path: Path) -> str:
    text = str(path)
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
