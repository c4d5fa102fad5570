"""Reading fleet.toml: every problem found at once, each with its key, the value, and what is allowed."""

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from inventory.caching import behind_cache
from inventory.errors import ConfigError, Problem
from inventory.lock import pin_host
from inventory.lock import read as read_lock
from inventory.model import (
    ALWAYS,
    GROUP_ROLES,
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
from inventory.secrets import Secrets
from roles.models.config import CLIP, Model
from roles.paths import Paths
from roles.settings import Settings, is_name, split_jump

PRESETS = Path(__file__).resolve().parent / "presets"
TOP_LEVEL = ("fleet", "groups", "hosts", "models", "secrets", *ROLE_TABLES)
FILES = (
    ("webui", "requirements"),
    ("lora_scripts", "requirements"),
    ("trainer", "requirements"),
    ("gateway", "certificate"),
)
"""Settings that are paths on the controller, relative to fleet.toml."""

Table = dict[str, Any]
T = TypeVar("T", bound=Settings)


def load(file: Path) -> Fleet:
    """The fleet that `file` describes.

    Raises ConfigError (exit code 2) with every problem of the file.
    """
    problems: list[Problem] = []
    raw = _read(file)
    fleet = _Reader(file.resolve(), raw, problems).fleet()
    if problems or fleet is None:
        raise ConfigError(str(file), problems)
    return fleet


def _read(file: Path) -> Table:
    try:
        return tomllib.loads(file.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError as error:
        hint = "no such file; `sdfleet init` writes one to start from, --fleet names another"
        raise ConfigError(str(file), [Problem("", hint)]) from error
    except UnicodeDecodeError as error:
        said = "is not UTF-8 (perhaps GBK or UTF-16); save it as UTF-8"
        raise ConfigError(str(file), [Problem("", said)]) from error
    except OSError as error:
        raise ConfigError(str(file), [Problem("", f"cannot be read: {error.strerror}")]) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(file), [Problem("", f"is not valid TOML: {error}")]) from error


class _Reader:
    """One pass over the raw tables; collects problems instead of stopping at the first."""

    def __init__(self, file: Path, raw: Table, problems: list[Problem]) -> None:
        self.file, self.raw, self.problems = file, raw, problems

    def fleet(self) -> Fleet | None:
        self._unknown(self.raw, TOP_LEVEL, "")
        table = self._parse(FleetTable, self.raw.get("fleet", {}), "fleet")
        secrets = self._parse(Secrets, self.raw.get("secrets", {}), "secrets")
        models = self._models(self.raw.get("models", []))
        for role in ROLE_TABLES:
            self._check_role_table(role, self.raw.get(role, {}), role)
        groups = {name: self._group(name, value) for name, value in self._tables("groups")}
        hosts = {name: self._host(name, value) for name, value in self._tables("hosts")}
        if "hosts" not in self.raw:
            self.problems.append(Problem("hosts", "no host; add a table like [hosts.gpu-1] with an address"))
        if self.problems or table is None or secrets is None:
            return None
        merged = {name: self._merge(table, name, host, groups, models) for name, host in hosts.items() if host}
        if self.problems:
            return None
        lock = read_lock(self.file)
        whole = behind_cache({name: host for name, host in merged.items() if host}, self._internal(hosts))
        return Fleet(
            file=self.file,
            table=table,
            secrets=secrets.beside(self.file.parent),
            hosts={name: pin_host(host, lock) for name, host in whole.items()},
        )

    @staticmethod
    def _internal(hosts: Mapping[str, HostTable | None]) -> dict[str, str]:
        """Where other hosts reach each host."""
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
                    self.problems.append(Problem(f"{at}.roles", f"no role {role!r}{_did_you_mean(role, ROLES)}"))
        return group

    def _host(self, name: str, raw: Table) -> HostTable | None:
        at = f"hosts.{name}"
        for role in ROLE_TABLES.keys() & raw.keys():
            self._check_role_table(role, raw[role], f"{at}.{role}")
        host = self._parse(HostTable, _without(raw, ROLE_TABLES), at, extra=ROLE_TABLES)
        known = {*GROUP_ROLES, *self.raw.get("groups", {})}
        for group in host.groups if host else ():
            if group not in known:
                self.problems.append(Problem(f"{at}.groups", f"no group {group!r}{_did_you_mean(group, known)}"))
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
                self.problems.append(Problem(f"models.{label}", f"a second {model.kind} of that name"))
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
        layers = [
            {"mirrors": tomllib.loads((PRESETS / f"{table.mirrors}.toml").read_text())},
            self.raw,
            *(self.raw.get("groups", {}).get(group, {}) for group in host.groups),
            self.raw["hosts"][name],
        ]
        roles = set(ALWAYS)
        for group in host.groups:
            roles.update(GROUP_ROLES.get(group, ()))
            if found := groups.get(group):
                roles.update(found.roles)
        here = self.file.parent
        merged: Table = {}
        for role in ROLE_TABLES:
            values: Table = {}
            for layer in layers:
                values = _deep_merge(values, layer.get(role, {}))
            for owner, key in FILES:
                if role == owner and values.get(key):
                    values[key] = str(here / values[key])
            merged[role] = values
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
            ),
            "groups": host.groups,
            "roles": tuple(role for role in ROLES if role in roles),
            "paths": Paths.model_validate({"root": str(table.data_root)}),
            "models": _models_of(host, roles, models),
            "direct": merged["mirrors"],
            **merged,
        }
        return self._parse(HostSettings, settings, f"hosts.{name}")

    def _parse(self, kind: type[T], raw: Any, at: str, extra: Iterable[str] = ()) -> T | None:
        try:
            return TypeAdapter(kind).validate_python(raw)
        except ValidationError as error:
            self.problems.extend(_problem(detail, kind, at, extra) for detail in error.errors())
            return None

    def _unknown(self, raw: Table, allowed: Iterable[str], at: str) -> None:
        for key in raw.keys() - set(allowed):
            place = f"{at}.{key}" if at else key
            self.problems.append(Problem(place, f"unknown table{_did_you_mean(key, allowed)}"))


def _hops(jump: str | None) -> tuple[Hop, ...]:
    places = [split_jump(place.strip()) for place in jump.split(",")] if jump else []
    return tuple(Hop(address=address, user=user or None, port=port or 22) for user, address, port in places)


def _models_of(host: HostTable, roles: set[str], models: tuple[Model, ...]) -> tuple[Model, ...]:
    """The host's share of the manifest, and the tokenizer without which nothing can be drawn or trained offline."""
    chosen = tuple(model for model in models if not model.groups or set(model.groups) & set(host.groups))
    needs_clip = roles & {"webui", "lora_scripts", "trainer"} and all(model.source != CLIP.source for model in chosen)
    return (*chosen, CLIP) if needs_clip else chosen


def _problem(detail: ErrorDetails, kind: type[Settings], at: str, extra: Iterable[str]) -> Problem:
    """A pydantic error as a sentence."""
    key = ".".join((at, *(str(part) for part in detail["loc"])))
    if detail["type"] == "extra_forbidden":
        names = [*_fields_at(kind, detail["loc"][:-1]), *extra]
        return Problem(key, f"unknown setting{_did_you_mean(str(detail['loc'][-1]), names)}")
    if detail["type"] == "missing":
        return Problem(key, "is required")
    message = detail["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    value = detail["input"]
    # A secret that was written into the file must not be printed, and what a sentence names already is not repeated.
    told = at == "secrets" or repr(value) in message or repr(str(value)) in message
    if at == "secrets" and detail["type"] == "model_type":
        message = 'give a table that says where it is, like { env = "NAME" }'
    shown = "" if told or isinstance(value, dict | list | Settings) else f" (is {value!r})"
    return Problem(key, f"{message}{shown}")


def _fields_at(kind: type[Settings], loc: tuple[int | str, ...]) -> list[str]:
    """Names of the fields of the model that stands at `loc` below `kind`."""
    for part in loc:
        field = kind.model_fields.get(str(part))
        inner = field.annotation if field else None
        if isinstance(inner, type) and issubclass(inner, Settings):
            kind = inner
    return list(kind.model_fields)


def _did_you_mean(word: str, names: Iterable[str]) -> str:
    names = sorted(names)
    close = difflib.get_close_matches(word, names, n=1)
    return f" (did you mean {close[0]}?)" if close else f"; known are {', '.join(names)}"


def _deep_merge(base: Table, over: Table) -> Table:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _deep_merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _without(table: Table, keys: Iterable[str]) -> Table:
    return {key: value for key, value in table.items() if key not in set(keys)}


def _beside(folder: Path, path: Path | None) -> Path | None:
    return None if path is None else folder / path.expanduser()
