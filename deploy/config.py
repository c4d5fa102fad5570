"""`sdfleet check` and `config`: what is wrong in fleet.toml, and what it comes to."""

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import tomlkit
from rich.text import Text

from deploy.console import out, styled
from deploy.locks import lock
from deploy.options import host_of
from deploy.preflight import checked
from deploy.shapes import FleetSettings, HostSetting, HostSettings
from inventory import origins
from inventory.errors import OK, ConfigError
from inventory.load import load
from inventory.model import ROLES, Fleet
from inventory.origins import Setting

WIDE = 50
"""Columns that a list may take on one line; and the column of the sources, where values are shorter."""


def check(file: Path) -> None:
    """Print that the file is valid, what may not be meant, and the next command. Raises ConfigError."""
    loaded = checked(file)
    for note in loaded.notes:
        out.print(styled("[yellow]note[/] {}", note))
    try:
        lock.require(loaded, tuple(loaded.hosts), ROLES)
        todo = "sdfleet plan"
    except ConfigError:
        todo = "sdfleet lock"
    out.print(f"{file} is valid: {len(loaded.hosts)} host(s). Next: {todo}")


def run(file: Path, host: str | None, as_json: bool = False) -> int:
    """Print the settings of a host, or of the fleet, as TOML or JSON. Returns 0. Raises ConfigError."""
    fleet = load(file)
    names = [host_of(fleet, file, host).name] if host else list(fleet.hosts)
    if as_json:
        _write(fleet, names, whole=host is None)
        return OK
    what = f"of {host}" if host else f"of the fleet {fleet.table.name}; sdfleet config HOST shows those of one host"
    out.print(styled("[dim]# Settings {}. After #: what decides the value.[/]", what))
    for line in toml(origins.of_host(fleet, host) if host else origins.of_fleet(fleet)):
        out.print(line)
    return OK


def _write(fleet: Fleet, names: Iterable[str], whole: bool) -> None:
    def told(settings: Iterable[Setting]) -> dict[str, HostSetting]:
        return {f"{each.table}.{each.name}": HostSetting(each.value, each.source) for each in settings}

    FleetSettings(
        command="config",
        exit_code=OK,
        settings=told(origins.of_fleet(fleet)) if whole else {},
        hosts={name: HostSettings(settings=told(origins.of_host(fleet, name))) for name in names},
    ).write()


def toml(settings: Iterable[Setting]) -> Iterator[Text]:
    """The lines of a TOML document; what decides a value is a comment behind it."""
    for table, listed in itertools.groupby(settings, lambda setting: setting.table):
        yield Text()
        model = table.startswith("models.")
        yield Text("[[models]]" if model else f"[{'.'.join(map(_key, table.split('.', 1)))}]", "bold")
        lines = [(f"{_name(each.name)} = {_value(each.value)}", each) for each in listed]
        width = max((len(line) for line, each in lines if each.value is not None and len(line) <= WIDE), default=0)
        for line, each in lines:
            if each.value is None:
                yield styled("[dim]# {} is unset[/]", each.name)
                continue
            *above, last = _broken(line, each) if len(line) > WIDE and isinstance(each.value, list) else [line]
            yield from map(Text, above)
            yield styled("{}  [dim]# {}[/]", last.ljust(width if not above else 0), each.source)


def _broken(line: str, setting: Setting) -> list[str]:
    """A list over several lines."""
    return [f"{_name(setting.name)} = [", *(f"    {_value(each)}," for each in setting.value), "]"]


def _name(name: str) -> str:
    return ".".join(map(_key, name.split(".")))


def _key(name: str) -> str:
    return tomlkit.key(name).as_string()


def _value(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return (
            "{ " + ", ".join(f"{_key(key)} = {_value(each)}" for key, each in value.items()) + " }" if value else "{}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return tomlkit.item(value).as_string()
