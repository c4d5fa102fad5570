"""The merged settings as `sdfleet config` shows them: each value, without secrets, and where it comes from."""

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inventory.load import read_tables
from inventory.merge import preset
from inventory.model import ROLE_TABLES, Fleet, FleetTable, HostSettings, HostTable
from inventory.pasted import unfold
from inventory.secrets import HttpProxy, SecretReference, Secrets
from roles.models.config import CLIP, LockedModel, Model
from roles.settings import Settings

DEFAULT = "default"
LOCK = "fleet.lock"
HIDDEN = "***"
SECRET = re.compile(r"token|passw|bearer|secret|authorization|auth$|(api|access|private)[-_]?key|signature|^sig$", re.I)
"""Names of flags, options and parameters of URLs whose values are not shown: fleet.toml should hold no secret, but free
tables can."""
FREE = ("flags", "options")
"""Settings that are tables with keys of others."""
LOGIN = re.compile(r"(?:(?<=https://)|(?<=http://))[^/?#\s]*(?=@)|(?<=://)[^/@\s]*:[^/\s]*(?=@)")
"""The login in a URL; a name without a password is a token there, but with ssh, which has it in every URL."""
PARAMETER = re.compile(r"(?<=[?&])([^=&\s]+)=([^&\s]+)")
REFERENCES = ("password", "key_passphrase", "sudo_password", "http_proxy")
"""Settings of groups and hosts that may be references to secrets."""
COMPUTED = {
    **{f"{role}.commit": LOCK for role, kind in ROLE_TABLES.items() if "commit" in kind.model_fields},
    "webui.repository": "webui.flavor",
    "webui.ref": "webui.flavor",
    "webui.repositories": "webui.flavor",
    "webui.subpath": "gateway.public_urls",
    "mirrors.hosts": "the group cache",
}
"""Settings that are computed from others if the file does not set them."""


@dataclass(frozen=True)
class Setting:
    """One setting."""

    table: str
    """Its table in fleet.toml: webui, hosts.gpu-1."""
    name: str
    """Its key there, with dots for what is inside a table: flags.medvram."""
    value: Any
    """Of JSON's types; None if it is unset."""
    source: str
    """The key in fleet.toml that decides it, fleet.lock, a preset, or DEFAULT."""


def of_host(fleet: Fleet, name: str) -> Iterator[Setting]:
    """All settings of a host, as plan, apply and verify use them."""
    host, raw = fleet.hosts[name], read_tables(fleet.file)
    yield from _connection(host, raw)
    for role, kind in ROLE_TABLES.items():
        if host.has(role):
            values = getattr(host, role)
            for key in kind.model_fields:
                value = getattr(values, key)
                source = _source(host, raw, f"{role}.{key}")
                if source == DEFAULT and value != getattr(_defaults(kind), key):
                    source = COMPUTED.get(f"{role}.{key}", "computed")
                if role == "mirrors" and value != getattr(host.direct, key) and key != "hosts":
                    source += ", with the fleet's cache first"
                yield from _flat(role, key, value, source, lambda setting: _source(host, raw, setting))
    for model in host.models:
        yield from _model(model)


def of_fleet(fleet: Fleet) -> Iterator[Setting]:
    """The settings that all hosts share, and what groups and hosts set themselves."""
    raw = read_tables(fleet.file)
    yield from _table("fleet", FleetTable, fleet.table, raw.get("fleet", {}))
    yield from _table("secrets", Secrets, fleet.secrets, raw.get("secrets", {}))
    for role, kind in ROLE_TABLES.items():
        given = raw.get(role, {})
        before = preset(fleet.table.mirrors) if role == "mirrors" else {}
        values = kind.model_validate({**before, **given})
        sources = dict.fromkeys(before, f"preset {fleet.table.mirrors}")
        yield from _table(role, kind, values, given, sources)
    for above in ("groups", "hosts"):
        for name, own in raw.get(above, {}).items():
            for key, value in own.items():
                if key in REFERENCES and isinstance(value, dict):
                    value = SecretReference.model_validate(value)
                yield from _flat(f"{above}.{name}", key, value, f"{above}.{name}.{key}")
    for entry in raw.get("models", []):
        yield from _model(Model.model_validate(entry))


def _table(
    title: str, kind: type[Settings], values: Settings, given: Mapping[str, Any], sources: Mapping[str, str] = {}
) -> Iterator[Setting]:
    """The settings of a table of the file."""
    for key in kind.model_fields:
        source = f"{title}.{key}" if key in given else sources.get(key, DEFAULT)
        yield from _flat(title, key, getattr(values, key), source)


def _connection(host: HostSettings, raw: Mapping[str, Any]) -> Iterator[Setting]:
    """The settings of a host's own table."""
    own, reached = raw["hosts"][host.name], host.connection
    told = unfold(own)  # what its address says
    values = {
        **{key: getattr(reached, key) for key in ("address", "port", "user", "key", "key_passphrase", "password")},
        "jump": ",".join(map(str, reached.hops)) or None,
        "sudo_password": reached.sudo_password,
        "http_proxy": host.http_proxy,
        "no_proxy": host.no_proxy,
        "groups": host.groups,
        "init": host.init,
        "data_root": host.paths.root,
        "internal": own.get("internal"),
    }
    for key in HostTable.model_fields:
        source = host.places.get(key, DEFAULT)
        if key in told and key not in own:
            source = f"hosts.{host.name}.address"
        if key == "no_proxy" and host.no_proxy and source == DEFAULT:
            source = "the fleet's hosts"
        yield from _flat(f"hosts.{host.name}", key, values[key], source)
    yield Setting(f"hosts.{host.name}", "roles", list(host.roles), "its groups")


def _source(host: HostSettings, raw: Mapping[str, Any], setting: str) -> str:
    """Which table decides a role's setting for the host."""
    role, _, key = setting.partition(".")
    if setting in host.places:
        return host.places[setting]
    if _has(raw.get(role, {}), key.split(".")):
        return setting
    chosen = raw.get("fleet", {}).get("mirrors", "none")
    return f"preset {chosen}" if role == "mirrors" and key in preset(chosen) else DEFAULT


def _has(table: Any, keys: Sequence[str]) -> bool:
    return not keys or (isinstance(table, dict) and keys[0] in table and _has(table[keys[0]], keys[1:]))


@functools.cache
def _defaults(kind: type[Settings]) -> Settings:
    return kind()


def _model(model: Model) -> Iterator[Setting]:
    at = f"models.{model.name}"
    source = DEFAULT if model.source == CLIP.source else at
    for key in Model.model_fields:
        value = getattr(model, key)
        if value or key == "kind":
            yield from _flat(at, key, value, source)
    if isinstance(model, LockedModel):
        if model.revision:
            yield Setting(at, "revision", model.revision, LOCK)
        if len(model.pins) == 1 and not model.sha256:
            yield Setting(at, "sha256", model.pins[0].sha256, LOCK)


def _flat(
    table: str, name: str, value: Any, source: str, decides: Callable[[str], str] = lambda setting: DEFAULT
) -> Iterator[Setting]:
    """A setting; for a table inside, its own settings.

    + decides: the key in the file that decides a setting inside; DEFAULT if that of the table itself, `source`, does
    """
    plain = _plain(value)
    if isinstance(value, SecretReference | HttpProxy) or not isinstance(plain, dict) or not plain:
        *above, key = name.split(".")
        yield Setting(table, name, HIDDEN if above and above[-1] in FREE and SECRET.search(key) else plain, source)
        return
    for key, inner in plain.items():
        place = decides(f"{table}.{name}.{key}")
        inside = f"{source}.{key}" if source.endswith(f".{name}") else source
        yield from _flat(table, f"{name}.{key}", inner, inside if place == DEFAULT else place, decides)


def _plain(value: Any) -> Any:
    """Of JSON's types, and without secrets."""
    match value:
        case SecretReference():
            return _reference(value)
        case HttpProxy():
            return _reference(value.secret) if value.secret else _plain(value.url)
        case Settings():
            return {key: _plain(getattr(value, key)) for key in type(value).model_fields}
        case dict():
            return {str(key): _plain(each) for key, each in value.items()}
        case list() | tuple():
            return _arguments([_plain(each) for each in value])
        case bool() | int() | float() | None:
            return value
    return PARAMETER.sub(_parameter, LOGIN.sub(HIDDEN, str(value)))  # paths, addresses


def _parameter(found: re.Match[str]) -> str:
    return f"{found[1]}={HIDDEN}" if SECRET.search(found[1]) else found[0]


def _arguments(words: list[Any]) -> list[Any]:
    """A list; in one of arguments, without the values of those that name a secret."""
    found: list[Any] = []
    hides = False
    for word in words:
        option, equals, _ = str(word).partition("=")
        names = option.startswith("--") and bool(SECRET.search(option))
        found.append(f"{option}={HIDDEN}" if names and equals else HIDDEN if hides else word)
        hides = names and not equals
    return found


def _reference(secret: SecretReference) -> dict[str, Any]:
    """Where a secret is read; arguments of a command may be secrets themselves."""
    if secret.command:
        return {"command": [secret.command[0], *([HIDDEN] if secret.command[1:] else [])]}
    return {"env": secret.env} if secret.env else {"file": str(secret.file)}
