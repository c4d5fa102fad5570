"""Files that people write by hand or save from other programs: text, TOML, JSON. Imports without torch."""

import json
import tomllib
from pathlib import Path
from typing import Any

from training.errors import InputError


def read_text(file: Path) -> str:
    """A file's text, a byte order mark left out. Raises InputError."""
    try:
        return file.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"{file}: no such file") from error
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: is not UTF-8 (perhaps GBK or UTF-16); save it as UTF-8") from error


def read_toml(file: Path) -> dict[str, Any]:
    """The tables of a TOML file. Raises InputError."""
    try:
        return tomllib.loads(read_text(file))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{file}: is not valid TOML: {error}") from error


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises InputError."""
    try:
        found = json.loads(read_text(file))
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{file}: is not valid JSON: {error}") from error
    if not isinstance(found, dict):
        raise InputError(f"{file}: must hold one JSON object")
    return found
