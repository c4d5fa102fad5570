"""Writes our config as TOML, each setting with the key that it comes from."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.items import Table

from training.config import Config
from training.errors import one_line


def to_toml(config: Config, origins: Mapping[str, str] | None = None, heading: str = "") -> str:
    """The settings that differ from our defaults, as TOML; `origins` adds the key of each setting as a comment."""
    document = tomlkit.document()
    if heading:
        document.add(tomlkit.comment(one_line(heading)))
    values = config.model_dump(exclude_defaults=True)
    plain = {key: value for key, value in values.items() if not isinstance(value, dict)}
    tables = {key: value for key, value in values.items() if isinstance(value, dict)}
    for key, value in plain.items():
        _add(document, key, value, key, origins or {})
    for key, value in tables.items():
        document.add(key, _table(value, key, origins or {}))
    return tomlkit.dumps(document)


def tables_to_toml(raw: Mapping[str, Any]) -> str:
    """Tables that are not a whole config (a preset's) as TOML."""
    return tomlkit.dumps(_writable(raw))


def _table(values: Mapping[str, Any], path: str, origins: Mapping[str, str]) -> Table:
    table = tomlkit.table()
    later = {}
    for key, value in values.items():
        if isinstance(value, dict) or (isinstance(value, list | tuple) and value and isinstance(value[0], dict)):
            later[key] = value
        else:
            _add(table, key, value, f"{path}.{key}", origins)
    if path in origins:
        table.comment(origins[path])
    for key, value in later.items():
        inner = f"{path}.{key}"
        if isinstance(value, dict):
            table.add(key, _table(value, inner, origins))
        else:
            array = tomlkit.aot()
            for index, item in enumerate(value):
                array.append(_table(item, f"{inner}.{index}", origins))
            table.add(key, array)
    return table


def _add(table: Any, key: str, value: Any, path: str, origins: Mapping[str, str]) -> None:
    item = tomlkit.item(_writable(value))
    # A subset inherits from [data].
    origin = origins.get(path) or origins.get(re.sub(r"^data\.subsets\.\d+", "data", path))
    if origin and origin != key:
        item.comment(origin)
    table.add(key, item)


def _writable(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _writable(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_writable(item) for item in value]
    return value
