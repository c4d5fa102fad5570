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
_PLACE = re.compile(r"\(at line (\d+), column (\d+)\)$")
_CLOSED = re.compile(
    r'"""(?:\\.|[^\\])*?"""|'
    r"'''.*?'''|"
    r'"(?:\\.|[^"\\\n])*"|'
    r"'[^'\n]*'|#[^\n]*",
    re.DOTALL,
)
"""Complete texts and comments of a TOML document."""
_TEXT = "\0"
"""Stands for each character of a complete text; no document has it."""
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
        raise ValueError(f"is not valid TOML: {error}{_hint(text, str(error))}") from error
    except RecursionError as error:
        raise ValueError("is nested too deep to be read") from error
    except ValueError as error:  # Python reads numbers of up to 4300 digits
        raise ValueError("has a number with too many digits") from error


def _hint(text: str, error: str) -> str:
    """What is probably meant at the place that tomllib's `error` names; "" if nobody knows.

    Its errors have the place as numbers only since Python 3.14.
    """
    text = text.replace("\r\n", "\n")
    lines = text.rstrip("\n").split("\n")
    named = _PLACE.search(error)
    number = min(int(named[1]), len(lines)) if named else len(lines)  # else at the end of the document
    if sign := next((sign for sign in lines[number - 1].partition("#")[0] if sign in STRANGE), None):
        return f"; line {number} has {sign!r}; write {STRANGE[sign]!r} if it is not part of a text"
    # Of the same length, so that places stay.
    bare = _CLOSED.sub(lambda found: re.sub(r"[^\n]", _TEXT if found[0][0] != "#" else " ", found[0]), text)
    if not named:
        before = re.match(r"[^\"']*[\"']", bare)
        return f"; is a closing quote missing in line {before[0].count(chr(10)) + 1}?" if before else ""
    bare_lines = bare.split("\n")
    value = _value_at(bare_lines[: number - 1], bare_lines[number - 1], int(named[2]) - 1)
    if value in ("True", "False"):
        return f"; write {value.lower()}"
    if _is_word(value):
        return '; text needs quotes: "..."'
    return "; is a closing quote missing?" if re.search("[\"']", bare_lines[number - 1]) else ""


def _value_at(above: list[str], line: str, column: int) -> str:
    """The value that `column` of a line belongs to; "" if none is expected there.

    + above: the lines before it; as in `line`, texts and comments in them are masked
    """
    begin = max(line.rfind(sign, 0, column) for sign in "=[,") + 1
    last = next((each.strip() for each in reversed(above) if each.strip()), "")
    in_list = last.endswith((",", "["))
    in_header = not line[:begin].strip("[ \t") and not in_list
    return "" if in_header else re.split(r"[\],}]", line[begin:])[0].strip()


def _is_word(value: str) -> bool:
    """Whether an invalid value is a text without quotes, rather than several values, or one of another kind."""
    if not value or value[0] in f"{_TEXT}\"'[{{" or "=" in value:
        return False
    try:
        tomllib.loads(f"value = {value.split()[0]}")
    except ValueError:
        return True
    return False  # something else is wrong, such as a second value behind it


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
