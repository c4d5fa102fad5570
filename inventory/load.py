"""Read fleet.toml. All problems are reported at once, each with its key, the value, and what is allowed."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from inventory import crosscheck
from inventory.caching import behind_cache
from inventory.connection import LOCAL
from inventory.error_messages import problem, without_consequences
from inventory.errors import ConfigError, Problem
from inventory.lock import pin_host
from inventory.lock import read as read_lock
from inventory.merge import FleetTables, Table, below_gateway, files_beside, reach_directly, valid, without
from inventory.model import (
    GROUP_ROLES,
    ROLE_TABLES,
    ROLES,
    Fleet,
    FleetTable,
    GroupTable,
    HostSettings,
    HostTable,
)
from inventory.secrets import Secrets
from roles.models.config import Model
from roles.settings import Settings, is_name
from training.spelling import did_you_mean_or_all
from training.textfile import parse_toml, read_bytes

TOP_LEVEL = ("fleet", "groups", "hosts", "models", "secrets", *ROLE_TABLES)
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
    fleet = _Reader(file.resolve(), read_tables(file), problems, files).fleet()
    if problems or fleet is None:
        raise ConfigError(str(file), problems)
    return fleet


def read_tables(file: Path) -> Table:
    """The raw tables of fleet.toml. Raises ConfigError."""
    try:
        return parse_toml(read_bytes(file).decode("utf-8-sig"))
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
        table = self._parse(FleetTable, self.raw.get("fleet", {}), "fleet", instead={"name": "unnamed"})
        secrets = self._parse(Secrets, self.raw.get("secrets", {}), "secrets")
        models = self._models(self.raw.get("models", []))
        for role in ROLE_TABLES:
            self._check_role_table(role, self.raw.get(role, {}), role)
        groups = {name: self._group(name, value) for name, value in self.groups.items()}
        hosts = {name: self._host(name, value) for name, value in self._tables("hosts")}
        if self.raw.get("hosts", {}) == {}:
            self.problems.append(Problem("hosts", "no host; add a table like [hosts.gpu-1] with an address"))
        self._also(crosscheck.groups(self.raw, self.known_groups))
        merged: dict[str, HostSettings] = {}
        if table:
            tables = FleetTables(self.file.parent, self.raw, table, groups, models)
            tried = {name: self._merge(tables, name, host) for name, host in hosts.items() if host}
            merged = {name: host for name, host in tried.items() if host}
        if self.files:
            if not self._wrong("secrets") and secrets:
                self._also(crosscheck.needed_secrets(secrets, merged))
            self._also(crosscheck.one_machine(hosts))
            self._also(crosscheck.local_machine(hosts))
            self._also(crosscheck.sources_of_hosts(self.raw))
            self._also(crosscheck.needs(table, secrets, merged, self.file.parent))
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
            hosts={name: pin_host(reach_directly(below_gateway(host), direct), lock) for name, host in whole.items()},
            notes=(
                *crosscheck.silent_groups(table, models, merged, [name for name, own in self.groups.items() if own]),
                *crosscheck.jumps_by_name(table, hosts),
                *crosscheck.unintended(merged),
            ),
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
        group = self._parse_with_roles(GroupTable, raw, at)
        for role in group.roles if group else ():
            if role not in ROLES:
                self.problems.append(Problem(f"{at}.roles", f"no role {role!r}{did_you_mean_or_all(role, ROLES)}"))
        return group

    def _host(self, name: str, raw: Table) -> HostTable | None:
        instead = {"address": f"{name}.invalid"}  # nobody has such an address (RFC 2606)
        return self._parse_with_roles(HostTable, raw, f"hosts.{name}", instead)

    def _models(self, raw: Any) -> tuple[Model, ...]:
        if not isinstance(raw, list):
            self.problems.append(Problem("models", "must be a list of tables [[models]]"))
            return ()
        models: list[Model] = []
        for index, entry in enumerate(raw):
            label = entry.get("name", index) if isinstance(entry, dict) else index
            model = self._parse(Model, entry, f"models.{label}", instead={"kind": "checkpoint", "name": "unnamed"})
            if model and any((m.kind, m.name) == (model.kind, model.name) for m in models):
                self._also([Problem(f"models.{label}", f"a second {model.kind} with this name")])
            elif model:
                models.append(model)
        return tuple(models)

    def _parse_with_roles(self, kind: type[T], raw: Table, at: str, instead: Table | None = None) -> T | None:
        """A table that may hold tables of roles; those are checked, and merged later."""
        for role in ROLE_TABLES.keys() & raw.keys():
            self._check_role_table(role, raw[role], f"{at}.{role}")
        return self._parse(kind, without(raw, ROLE_TABLES), at, extra=ROLE_TABLES, instead=instead)

    def _check_role_table(self, role: str, raw: Any, at: str) -> None:
        self._parse(ROLE_TABLES[role], raw, at)

    def _merge(self, tables: FleetTables, name: str, host: HostTable) -> HostSettings | None:
        # Invalid settings were reported already.
        values = tables.host_values(name, host, only_valid=bool(self.problems))
        known = [each.message for each in self.problems]
        parsed = self._parse(HostSettings, values, f"hosts.{name}", known=known)
        return parsed and files_beside(self.file.parent, parsed)

    def _parse(
        self,
        kind: type[T],
        raw: Any,
        at: str,
        extra: Iterable[str] = (),
        known: Collection[str] = (),
        instead: Table | None = None,
    ) -> T | None:
        """`raw` as a `kind`, without the settings with problems, so that these hide no others; None if none is left.

        Its problems are added, except those whose messages are in `known`.
        + instead: values for settings with problems, where it matters which
        """
        try:
            return TypeAdapter(kind).validate_python(raw)
        except ValidationError as error:
            found = [problem(detail, kind, at, extra) for detail in without_consequences(error.errors())]
            self.problems += [each for each in found if each.message not in known]
            rest = valid(kind, raw, instead or {}) if isinstance(raw, dict) else None
            return None if rest is None else kind.model_validate(rest)

    def _also(self, found: Iterable[Problem]) -> None:
        """Add problems, except of settings that were reported already: a problem there may be their consequence."""
        self.problems += [each for each in found if not self._wrong(each.key)]

    def _wrong(self, key: str) -> bool:
        """Whether a setting, or one in the table of this name, has a problem."""
        return bool(key) and any(f"{each.key}.".startswith(f"{key}.") for each in self.problems)

    def _unknown(self, raw: Table, allowed: Iterable[str], at: str) -> None:
        for key in raw.keys() - set(allowed):
            place = f"{at}.{key}" if at else key
            self.problems.append(Problem(place, f"unknown table{did_you_mean_or_all(key, allowed)}"))
