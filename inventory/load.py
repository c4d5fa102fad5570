"""Read fleet.toml. All problems are reported at once, each with its key, the value, and what is allowed."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError

from inventory import crosscheck
from inventory.caching import behind_cache
from inventory.errors import ConfigError, Problem
from inventory.lock import pin_host
from inventory.lock import read as read_lock
from inventory.model import (
    ALWAYS,
    GROUP_ROLES,
    LOCAL,
    ROLE_TABLES,
    ROLES,
    Connection,
    Fleet,
    FleetTable,
    GroupTable,
    Hop,
    HostSettings,
    HostTable,
)
from inventory.secrets import HttpProxy, Secrets
from inventory.sentences import problem, telling
from roles.models.config import CLIP, Model
from roles.paths import Paths
from roles.settings import Settings, is_name, split_jump
from training.spelling import did_you_mean_or_all
from training.textfile import parse_toml

PRESETS = Path(__file__).resolve().parent / "presets"
TOP_LEVEL = ("fleet", "groups", "hosts", "models", "secrets", *ROLE_TABLES)
Table = dict[str, Any]
T = TypeVar("T", bound=Settings)
FileChecks = Callable[[Path, Secrets | None, Sequence[Model]], Iterable[Problem]]
"""Checks of files on this machine: fleet.toml, its secrets and the models that hosts need -> what is wrong."""


def load(file: Path) -> Fleet:
    """The fleet in `file`. Raises ConfigError (exit code 2) with every problem of the file."""
    return _load(file, None)


def check(file: Path, files: FileChecks = lambda file, secrets, models: ()) -> Fleet:
    """The same, with problems that otherwise only a later verb would find: missing secrets and files.

    + files: further checks of what the file names on this machine
    """
    return _load(file, files)


def _load(file: Path, files: FileChecks | None) -> Fleet:
    problems: list[Problem] = []
    fleet = _Reader(file.resolve(), _read(file), problems, files).fleet()
    if problems or fleet is None:
        raise ConfigError(str(file), problems)
    return fleet


def _read(file: Path) -> Table:
    try:
        return parse_toml(file.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError as error:
        hint = "no such file; create one with sdfleet init, or name another with --fleet"
        raise ConfigError(str(file), [Problem("", hint)]) from error
    except UnicodeDecodeError as error:
        said = "is not UTF-8 (perhaps GBK or UTF-16); save it as UTF-8"
        raise ConfigError(str(file), [Problem("", said)]) from error
    except OSError as error:
        raise ConfigError(str(file), [Problem("", f"cannot be read: {error.strerror}")]) from error
    except ValueError as error:
        raise ConfigError(str(file), [Problem("", str(error))]) from error


class _Reader:
    """Reads the raw tables and collects all problems."""

    def __init__(self, file: Path, raw: Table, problems: list[Problem], files: FileChecks | None) -> None:
        self.file, self.raw, self.problems, self.files = file, raw, problems, files
        self.groups = dict(self._tables("groups"))
        self.known_groups = {*GROUP_ROLES, *self.groups}

    def fleet(self) -> Fleet | None:
        self._unknown(self.raw, TOP_LEVEL, "")
        table = self._parse(FleetTable, self.raw.get("fleet", {}), "fleet")
        secrets = self._parse(Secrets, self.raw.get("secrets", {}), "secrets")
        models = self._models(self.raw.get("models", []))
        for role in ROLE_TABLES:
            self._check_role_table(role, self.raw.get(role, {}), role)
        groups = {name: self._group(name, value) for name, value in self.groups.items()}
        hosts = {name: self._host(name, value) for name, value in self._tables("hosts")}
        if "hosts" not in self.raw:
            self.problems.append(Problem("hosts", "no host; add a table like [hosts.gpu-1] with an address"))
        self.problems += crosscheck.groups(table, models, self.known_groups)
        tried = {n: self._merge(table, n, host, groups, models) for n, host in hosts.items() if host and table}
        merged = {name: host for name, host in tried.items() if host}
        if self.files:
            self.problems += crosscheck.one_machine(hosts)
            self.problems += crosscheck.needs(table, secrets, merged, self.file.parent)
            groups_of_hosts = {group for host in hosts.values() if host for group in host.groups}
            used = [model for model in models if not model.groups or groups_of_hosts.intersection(model.groups)]
            self.problems += self.files(self.file, secrets, used)
        if self.problems or table is None or secrets is None:
            return None
        lock = read_lock(self.file)
        internal = self._internal(hosts)
        whole = behind_cache(merged, internal)
        direct = tuple(sorted({address for address in internal.values() if address != LOCAL}))
        return Fleet(
            file=self.file,
            table=table,
            secrets=secrets.beside(self.file.parent),
            hosts={name: pin_host(_direct_to(host, direct), lock) for name, host in whole.items()},
            notes=tuple(crosscheck.silent_groups(table, models, merged)),
        )

    @staticmethod
    def _internal(hosts: Mapping[str, HostTable | None]) -> dict[str, str]:
        """The address at which other hosts reach each host."""
        return {name: host.internal or host.address for name, host in hosts.items() if host}

    def _tables(self, key: str) -> list[tuple[str, Table]]:
        value = self.raw.get(key, {})
        if not isinstance(value, dict):
            self.problems.append(Problem(key, f"must be tables like [{key}.NAME]"))
            return []
        found = []
        for name in value:
            if twin := next((other for other in value if other < name and other.lower() == name.lower()), None):
                self.problems.append(Problem(f"{key}.{name}", f"differs from {twin} only in case"))
            try:
                is_name(name)
            except ValueError as error:
                self.problems.append(Problem(f"{key}.{name!r}", str(error)))
        for name, table in value.items():
            if isinstance(table, dict):
                found.append((name, table))
            else:
                self.problems.append(Problem(f"{key}.{name}", f"must be a table [{key}.{name}]"))
        return found

    def _group(self, name: str, raw: Table) -> GroupTable | None:
        at = f"groups.{name}"
        for role in ROLE_TABLES.keys() & raw.keys():
            self._check_role_table(role, raw[role], f"{at}.{role}")
        group = self._parse(GroupTable, _without(raw, ROLE_TABLES), at, extra=ROLE_TABLES)
        if group:
            for role in group.roles:
                if role not in ROLES:
                    self.problems.append(Problem(f"{at}.roles", f"no role {role!r}{did_you_mean_or_all(role, ROLES)}"))
        return group

    def _host(self, name: str, raw: Table) -> HostTable | None:
        at = f"hosts.{name}"
        for role in ROLE_TABLES.keys() & raw.keys():
            self._check_role_table(role, raw[role], f"{at}.{role}")
        host = self._parse(HostTable, _without(raw, ROLE_TABLES), at, extra=ROLE_TABLES)
        self.problems += crosscheck.unknown_groups(f"{at}.groups", host.groups if host else (), self.known_groups)
        return host

    def _models(self, raw: Any) -> tuple[Model, ...]:
        if not isinstance(raw, list):
            self.problems.append(Problem("models", "must be a list of tables [[models]]"))
            return ()
        models: list[Model] = []
        for index, entry in enumerate(raw):
            label = entry.get("name", index) if isinstance(entry, dict) else index
            model = self._parse(Model, entry, f"models.{label}")
            if model and any((m.kind, m.name) == (model.kind, model.name) for m in models):
                self.problems.append(Problem(f"models.{label}", f"a second {model.kind} with this name"))
            elif model:
                models.append(model)
        return tuple(models)

    def _check_role_table(self, role: str, raw: Any, at: str) -> None:
        self._parse(ROLE_TABLES[role], raw, at)

    def _merge(
        self,
        table: FleetTable,
        name: str,
        host: HostTable,
        groups: Mapping[str, GroupTable | None],
        models: tuple[Model, ...],
    ) -> HostSettings | None:
        own = {
            **{f"groups.{group}": self.groups.get(group, {}) for group in host.groups},
            f"hosts.{name}": self.raw["hosts"][name],
        }
        preset = {"mirrors": parse_toml((PRESETS / f"{table.mirrors}.toml").read_text())}
        layers = [preset, self.raw, *own.values()]
        places = _places({"fleet": self.raw.get("fleet", {}), **own})
        roles = set(ALWAYS)
        for group in host.groups:
            roles.update(GROUP_ROLES.get(group, ()))
            if found := groups.get(group):
                roles.update(found.roles)
        here = self.file.parent
        passphrase = host.key_passphrase or (None if host.key else table.key_passphrase)
        tables = [host, *(groups.get(group) for group in reversed(host.groups)), table]
        sudo_password = _first(tables, "sudo_password")
        proxy = _first(tables, "http_proxy") or HttpProxy(url="")
        merged: Table = {}
        for role in ROLE_TABLES:
            values: Table = {}
            for layer in layers:
                if isinstance(table_of_role := layer.get(role), dict):
                    values = _deep_merge(values, table_of_role)
            # Without the settings that were reported already, so that they do not hide other problems.
            merged[role] = _valid(ROLE_TABLES[role], values) if self.problems else values
        settings = {
            "name": name,
            "connection": Connection(
                address=host.address,
                port=host.port,
                user=host.user or table.user,
                key=_beside(here, host.key or table.key),
                hops=_hops(host.jump),
                known_hosts=_beside(here, table.known_hosts),
                password=host.password.beside(here) if host.password else None,
                key_passphrase=passphrase.beside(here) if passphrase else None,
                sudo_password=sudo_password.beside(here) if sudo_password else None,
            ),
            "groups": host.groups,
            "roles": tuple(role for role in ROLES if role in roles),
            "paths": Paths.model_validate({"root": str(table.data_root)}),
            "models": _models_of(host, roles, models),
            "http_proxy": proxy.beside(here),
            "no_proxy": _first(tables, "no_proxy") or (),
            "direct": merged["mirrors"],
            "places": places,
            **merged,
        }
        known = [each.message for each in self.problems]
        parsed = self._parse(HostSettings, settings, f"hosts.{name}", known=known)
        return parsed and _files_beside(here, parsed)

    def _parse(
        self, kind: type[T], raw: Any, at: str, extra: Iterable[str] = (), known: Collection[str] = ()
    ) -> T | None:
        """`raw` as a `kind`; None after adding its problems, except those whose messages are in `known`."""
        try:
            return TypeAdapter(kind).validate_python(raw)
        except ValidationError as error:
            found = [problem(detail, kind, at, extra) for detail in telling(error.errors())]
            self.problems += [each for each in found if each.message not in known]
            return None

    def _unknown(self, raw: Table, allowed: Iterable[str], at: str) -> None:
        for key in raw.keys() - set(allowed):
            place = f"{at}.{key}" if at else key
            self.problems.append(Problem(place, f"unknown table{did_you_mean_or_all(key, allowed)}"))


def _direct_to(host: HostSettings, fleet: tuple[str, ...]) -> HostSettings:
    """The host with the fleet's addresses, and those where hosts share models, in its no_proxy."""
    giving = (urlsplit(url).hostname or "" for url in host.mirrors.hosts.values())
    return host.model_copy(update={"no_proxy": tuple(dict.fromkeys((*host.no_proxy, *fleet, *giving)))})


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


def _valid(kind: type[Settings], values: Table) -> Table:
    """`values` without the settings that `kind` refuses."""
    try:
        kind.model_validate(values)
    except ValidationError as error:
        refused = {str(detail["loc"][0]) for detail in error.errors() if detail["loc"]} & values.keys()
        return _valid(kind, _without(values, refused)) if refused else {}
    return values


def _without(table: Table, keys: Iterable[str]) -> Table:
    return {key: value for key, value in table.items() if key not in set(keys)}


def _files_beside(folder: Path, host: HostSettings) -> HostSettings:
    """The host, whose settings that are paths on the controller count from `folder`."""
    for role, key in crosscheck.FILES:
        table = getattr(host, role)
        if path := getattr(table, key):
            host = host.model_copy(update={role: table.model_copy(update={key: folder / path})})
    return host


def _beside(folder: Path, path: Path | None) -> Path | None:
    return None if path is None else folder / path
