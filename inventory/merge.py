"""The settings of one host: the preset's, overridden by the fleet's, its groups' and its own."""

import functools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from inventory import crosscheck
from inventory.connection import Connection, Hop
from inventory.model import ALWAYS, GROUP_ROLES, ROLE_TABLES, ROLES, FleetTable, GroupTable, HostSettings, HostTable
from inventory.secrets import HttpProxy
from roles.models.config import CLIP, Model
from roles.paths import Paths
from roles.settings import Settings, split_jump
from training.textfile import parse_toml

PRESETS = Path(__file__).resolve().parent / "presets"
Table = dict[str, Any]
FLEET_PASSPHRASE = "fleet.key_passphrase"


@dataclass(frozen=True)
class FleetTables:
    """The tables of fleet.toml that all hosts share."""

    folder: Path
    """The file's folder, to which its paths are relative."""
    raw: Table
    """The whole file as it was read."""
    table: FleetTable
    groups: Mapping[str, GroupTable | None]
    """Groups by name; None for one with problems."""
    models: tuple[Model, ...]

    def host_values(self, name: str, host: HostTable, *, only_valid: bool) -> Table:
        """Values for HostSettings, not validated yet.

        + only_valid: whether to leave out settings of roles that are not valid, so that they hide no other problem
        """
        roles = set(ALWAYS)
        for group in host.groups:
            roles.update(GROUP_ROLES.get(group, ()))
            if found := self.groups.get(group):
                roles.update(found.roles)
        tables = [host, *(self.groups.get(group) for group in reversed(host.groups)), self.table]
        merged = self._role_tables(name, host.groups, only_valid)
        return {
            "name": name,
            "connection": self._connection(name, host, tables),
            "groups": host.groups,
            "init": host.init,
            "roles": tuple(role for role in ROLES if role in roles),
            "paths": Paths.model_validate({"root": str(_first(tables, "data_root"))}),
            "models": _models_of(host, roles, self.models),
            "http_proxy": (_first(tables, "http_proxy") or HttpProxy(url="")).beside(self.folder),
            "no_proxy": _first(tables, "no_proxy") or (),
            "direct": merged["mirrors"],
            "places": _places({"fleet": self.raw.get("fleet", {}), **self._own_tables(name, host.groups)}),
            **merged,
        }

    def _connection(self, name: str, host: HostTable, tables: Sequence[Settings | None]) -> Connection:
        """+ tables: where to look for the password of sudo, in this order."""
        here, fleet = self.folder, self.table
        passphrase = host.key_passphrase or (None if host.key else fleet.key_passphrase)
        sudo_password = _first(tables, "sudo_password")
        return Connection(
            address=host.address,
            port=host.port,
            user=host.user or fleet.user,
            key=_beside(here, host.key or fleet.key),
            hops=_hops(host.jump),
            known_hosts=_beside(here, fleet.known_hosts),
            password=host.password.beside(here) if host.password else None,
            key_passphrase=passphrase.beside(here) if passphrase else None,
            passphrase_setting=f"hosts.{name}.key_passphrase" if host.key or host.key_passphrase else FLEET_PASSPHRASE,
            sudo_password=sudo_password.beside(here) if sudo_password else None,
        )

    def _role_tables(self, name: str, groups: Iterable[str], only_valid: bool) -> dict[str, Table]:
        """The merged table of each role."""
        layers = [{"mirrors": preset(self.table.mirrors)}, self.raw, *self._own_tables(name, groups).values()]
        merged: dict[str, Table] = {}
        for role in ROLE_TABLES:
            values: Table = {}
            for layer in layers:
                if isinstance(own := layer.get(role), dict):
                    values = _deep_merge(values, own)
            merged[role] = (valid(ROLE_TABLES[role], values, {}) or {}) if only_valid else values
        return merged

    def _own_tables(self, name: str, groups: Iterable[str]) -> dict[str, Table]:
        """The raw tables of a host's groups and its own, by their keys in the file."""
        found = {f"groups.{group}": self.raw["groups"][group] for group in groups if group in self.groups}
        return {**found, f"hosts.{name}": self.raw["hosts"][name]}


@functools.cache
def preset(name: str) -> Table:
    """A preset of mirrors; read once for all hosts, as nothing changes it."""
    return parse_toml((PRESETS / f"{name}.toml").read_text())


def files_beside(folder: Path, host: HostSettings) -> HostSettings:
    """The host with absolute paths on the controller, which in fleet.toml are relative to `folder`."""
    for role, key in crosscheck.FILES:
        table = getattr(host, role)
        if path := getattr(table, key):
            host = host.model_copy(update={role: table.model_copy(update={key: folder / path})})
    return host


def reach_directly(host: HostSettings, addresses: Iterable[str]) -> HostSettings:
    """The host with the fleet's `addresses`, and those at which hosts share models, in its no_proxy."""
    sharing = (urlsplit(url).hostname or "" for url in host.mirrors.hosts.values())
    return host.model_copy(update={"no_proxy": tuple(dict.fromkeys((*host.no_proxy, *addresses, *sharing)))})


def below_gateway(host: HostSettings) -> HostSettings:
    """The host whose WebUI writes its addresses below the path at which people see the gateway."""
    if not host.has("gateway") or not host.gateway.enabled:
        return host
    return host.model_copy(update={"webui": host.webui.model_copy(update={"subpath": host.gateway.path})})


def without(table: Table, keys: Collection[str]) -> Table:
    return {key: value for key, value in table.items() if key not in keys}


def _first(tables: Iterable[Settings | None], setting: str) -> Any:
    """The setting in the first of the tables that has it."""
    values = (getattr(table, setting) for table in tables if table)
    return next((value for value in values if value is not None), None)


def _hops(jump: str | None) -> tuple[Hop, ...]:
    places = [split_jump(place.strip()) for place in jump.split(",")] if jump else []
    return tuple(Hop(address=address, user=user or None, port=port or 22) for user, address, port in places)


def _models_of(host: HostTable, roles: set[str], models: tuple[Model, ...]) -> tuple[Model, ...]:
    """The host's models, and CLIP's tokenizer, which generating and training need offline."""
    chosen = tuple(model for model in models if not model.groups or set(model.groups) & set(host.groups))
    needs_clip = roles & {"webui", "lora_scripts", "trainer"} and all(model.source != CLIP.source for model in chosen)
    return (*chosen, CLIP) if needs_clip else chosen


def _deep_merge(base: Table, over: Table) -> Table:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _deep_merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _places(tables: Mapping[str, Table]) -> dict[str, str]:
    """Setting -> its key in the last of the tables (key -> table) that has it, for settings of all depths."""
    found: dict[str, str] = {}
    for at, table in tables.items():
        for name, value in table.items():
            found[name] = f"{at}.{name}"
            if isinstance(value, dict):
                found |= {f"{name}.{inner}": place for inner, place in _places({f"{at}.{name}": value}).items()}
    return found


def valid(kind: type[Settings], values: Table, instead: Table) -> Table | None:
    """`values` without the settings that `kind` refuses; None if they are needed.

    + instead: values that take the place of refused settings
    """
    try:
        kind.model_validate(values)
    except ValidationError as error:
        refused = {str(detail["loc"][0]) for detail in error.errors() if detail["loc"]}
        kept = without(values, refused) | {name: value for name, value in instead.items() if name in refused}
        if kept == values:  # what is refused is a combination, or a part of what one setting says
            kept = values | instead
        return None if kept == values else valid(kind, kept, instead)
    return values


def _beside(folder: Path, path: Path | None) -> Path | None:
    return None if path is None else folder / path
