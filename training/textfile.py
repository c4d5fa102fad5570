"""Files written by hand or by other programs: text, TOML, JSON. Imports without torch."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

from training.errors import InputError
from training.usable_path import why_missing

STRANGE = {
    **dict.fromkeys("\u201c\u201d\uff02", '"'),
    **dict.fromkeys("\u2018\u2019\uff07", "'"),
    **dict.fromkeys("\u00a0\u3000", " "),
    **{"\uff1d": "=", "\uff0c": ",", "\u3001": ",", "\uff3b": "[", "\uff3d": "]", "\uff5b": "{", "\uff5d": "}"},
}
"""Signs that look like one of TOML's -> that one."""
_LINE = re.compile(r"\(at line (\d+), column \d+\)$")
LARGEST = 1 << 26
"""Bytes of the largest text that is read; checkpoints, given by mistake, would not fit into the memory."""


def read_bytes(file: Path) -> bytes:
    """What is in a text file. Raises OSError; ValueError with the reason if the file is too large for one."""
    with file.open("rb") as stream:
        found = stream.read(LARGEST + 1)
    if len(found) > LARGEST:
        raise ValueError(f"is larger than {LARGEST >> 20} MiB; expected a text file")
    return found


def read_text(file: Path) -> str:
    """A file's text without a byte order mark. Raises InputError."""
    try:
        return read_bytes(file).decode("utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"{file}: {why_missing(file)}") from error
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: is not UTF-8 (perhaps GBK or UTF-16); save it as UTF-8") from error
    except ValueError as error:
        if "\0" in str(file):
            raise InputError(f"{str(file)!r}: no file can have this name") from error
        raise InputError(f"{file}: {error}") from error


def parse_toml(text: str) -> dict[str, Any]:
    """The tables in a TOML text. Raises ValueError with the reason."""
    if "\0" in text:
        raise ValueError("is not UTF-8 (perhaps UTF-16); save it as UTF-8")
    try:
        found = tomllib.loads(text)
        repr(found)  # a hexadecimal number may have more digits than Python writes in decimal, in a message for one
        return found
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"is not valid TOML: {error}{_strange_sign(text, str(error))}") from error
    except RecursionError as error:
        raise ValueError("is nested too deep to be read") from error
    except ValueError as error:  # Python reads numbers of up to 4300 digits
        raise ValueError("has a number with too many digits") from error


def _strange_sign(text: str, error: str) -> str:
    """A hint at the first sign of an editor or a Chinese keyboard on the line that tomllib's `error` names.

    Its errors have the line as a number only since Python 3.14.
    """
    lines = text.rstrip("\n").split("\n")
    named = _LINE.search(error)
    number = min(int(named[1]), len(lines)) if named else len(lines)  # else at the end of the document
    sign = next((sign for sign in lines[number - 1].partition("#")[0] if sign in STRANGE), None)
    return f"; line {number} has {sign!r}; write {STRANGE[sign]!r} if it is not part of a text" if sign else ""


def read_toml(file: Path) -> dict[str, Any]:
    """The tables of a TOML file. Raises InputError."""
    text = read_text(file)
    try:
        return parse_toml(text)
    except ValueError as error:
        raise InputError(f"{file}: {error}") from error


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises InputError."""
    text = read_text(file)
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{file}: is not valid JSON: {error}") from error
    except RecursionError as error:
        raise InputError(f"{file}: is nested too deep to be read") from error
    except ValueError as error:
        raise InputError(f"{file}: has a number with too many digits") from error
    if not isinstance(found, dict):
        raise InputError(f"{file}: must hold one JSON object")
    return found
