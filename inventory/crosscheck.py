"""Checks between tables of fleet.toml, and of files on the controller that it names."""

import ipaddress
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from inventory.connection import LOCAL, Hop
from inventory.errors import Problem
from inventory.model import FleetTable, HostSettings, HostTable
from inventory.secrets import Secrets
from roles.data_root import is_hidden
from roles.models.config import Model
from roles.settings import split_jump
from training.spelling import did_you_mean, did_you_mean_or_all

FILES = (
    ("webui", "requirements"),
    ("comfyui", "requirements"),
    ("lora_scripts", "requirements"),
    ("trainer", "requirements"),
    ("gateway", "certificate"),
)
"""Settings that are paths on the controller, relative to fleet.toml."""
FOR_SSH = {"user", "port", "key", "jump", "password"}
"""Settings of a host that is reached over SSH."""
PUBLIC = re.compile(rb"(ssh|ecdsa|sk-ssh|sk-ecdsa)-\S+ AAAA|---- BEGIN SSH2 PUBLIC KEY")
"""The beginning of a public key's file."""


def groups(raw: Mapping[str, Any], known: Collection[str]) -> Iterator[Problem]:
    """A problem for each group that a host, a model or a rollout names and that does not exist.

    + raw: the whole file, since what else is wrong in a table hides no group
    """
    named = {f"hosts.{name}": host for name, host in _table(raw, "hosts").items()}
    named |= {"fleet.rollout": _table(_table(raw, "fleet"), "rollout"), **_models(raw)}
    for at, table in named.items():
        wanted = table.get("groups") if isinstance(table, dict) else None
        for group in wanted if isinstance(wanted, list) else ():
            if isinstance(group, str) and group not in known:
                yield Problem(f"{at}.groups", f"no group {group!r}{did_you_mean_or_all(group, known)}")


def _table(raw: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = raw.get(key)
    return value if isinstance(value, dict) else {}


def _models(raw: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The tables of models by their keys in errors."""
    models = raw.get("models")
    listed = enumerate(models if isinstance(models, list) else ())
    return {f"models.{table.get('name', index)}": table for index, table in listed if isinstance(table, dict)}


def one_machine(hosts: Mapping[str, HostTable | None]) -> Iterator[Problem]:
    """Hosts with the same address and port: the same machine, listed twice."""
    seen: dict[tuple[str, int, str | None], str] = {}
    for name, host in hosts.items():
        if host is None:
            continue
        place = (_plain(host.address), host.port, host.jump)
        if place in seen:
            where = f"{host.address} port {host.port}"
            yield Problem(
                f"hosts.{name}.address", f"hosts.{seen[place]} has the same address {where}; keep one of them"
            )
        seen.setdefault(place, name)


def _plain(address: str) -> str:
    """One spelling of an address: 2001:db8::1 for 2001:0db8:0::1, a name in small letters without its last dot."""
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return address.lower().rstrip(".")


def local_machine(hosts: Mapping[str, HostTable | None]) -> Iterator[Problem]:
    """Settings of SSH for this machine."""
    for name, host in hosts.items():
        if host and host.address == LOCAL and (unused := sorted(host.model_fields_set & FOR_SSH)):
            said = f"this machine is reached without SSH, so {', '.join(unused)} would not be used"
            yield Problem(f"hosts.{name}.address", said)


def unintended(hosts: Mapping[str, HostSettings]) -> Iterator[str]:
    """A sentence for each setting of a host's own that is valid, but perhaps not intended."""
    yield from _hidden_roots(hosts)
    yield from _idle_caches(hosts)
    yield from _unused_subpaths(hosts)


def _idle_caches(hosts: Mapping[str, HostSettings]) -> Iterator[str]:
    """A sentence for each host that stops when idle, and whose cache others need."""
    for host in hosts.values():
        if host.has("cache") and host.rental.idle_stop:
            said = "what other hosts download from its cache does not count as use"
            yield f"{host.place('rental.idle_stop')}: {said}, so it may stop while they do"


def _unused_subpaths(hosts: Mapping[str, HostSettings]) -> Iterator[str]:
    """A sentence for each setting of the WebUI's path that hosts do not use, as they have a gateway."""
    found: dict[str, list[str]] = {}
    for name, host in hosts.items():
        has_gateway = host.has("gateway") and host.gateway.enabled
        if host.has("webui") and has_gateway and host.webui.subpath not in ("", host.gateway.path):
            found.setdefault(host.place("webui.subpath"), []).append(name)
    for place, names in found.items():
        said = "which has a gateway" if len(names) == 1 else "which have gateways"
        cure = 'the path there is that of gateway.public_urls, with gateway.tls = "provider"'
        yield f"{place}: is not used on {', '.join(names)}, {said}; {cure}"


def jumps_by_name(table: FleetTable, hosts: Mapping[str, HostTable | None]) -> Iterator[str]:
    """A sentence for each jump host that has the name of a host of this file, which DNS may know or not."""
    for name, host in hosts.items():
        for hop in host.jump.split(",") if host and host.jump else ():
            user, address, port = split_jump(hop.strip())
            there = hosts.get(address)
            if not there or _plain(there.address) == _plain(address):
                continue
            said = f"hosts.{name}.jump: {address} is looked up in DNS, not in this file"
            if there.address == LOCAL:
                yield f"{said}, where it is this machine, over which no jump leads"
                continue
            place = Hop(address=there.address, user=user or there.user or table.user, port=port or there.port)
            yield f"{said}; if you mean hosts.{address}, write {place}"


def _hidden_roots(hosts: Mapping[str, HostSettings]) -> Iterator[str]:
    """A sentence for each setting of a data root that systemd would hide from services, where the host may have it."""
    found = {host.place("data_root"): host.paths.root for host in hosts.values() if host.init == "auto"}
    for place, root in found.items():
        if is_hidden(root):
            said = "is refused by apply on a host with systemd, which hides it from services"
            yield f"{place}: {root} {said}; on a rented container without systemd it works"


def sources_of_hosts(raw: Mapping[str, Any]) -> Iterator[Problem]:
    """Models of hosts that are not in this file, of which `raw` is the whole."""
    hosts = _table(raw, "hosts")
    for at, model in _models(raw).items():
        source = model.get("source")
        if isinstance(source, str) and source.startswith("host:"):
            other = source.removeprefix("host:").partition("/")[0]
            if other not in hosts:
                yield Problem(f"{at}.source", f"no host {other!r}{did_you_mean_or_all(other, hosts)}")


def needs(
    table: FleetTable | None, secrets: Secrets | None, hosts: Mapping[str, HostSettings], here: Path
) -> Iterator[Problem]:
    """Files on the controller that the hosts need and that are missing, and proxies that they cannot use.

    + here: folder of fleet.toml, to which paths are relative
    """
    if secrets:
        for name in type(secrets).model_fields:
            reference = getattr(secrets, name)
            if reference and reference.file and (why := _unreadable(name, here / reference.file)):
                yield Problem(f"secrets.{name}", why)
    if table and table.known_hosts and not (here / table.known_hosts).is_file():
        yield Problem("fleet.known_hosts", f"there is no file {here / table.known_hosts}")
    told: set[Path] = set()
    for name, host in hosts.items():
        settings = [(f"{role}.{key}", getattr(getattr(host, role), key)) for role, key in FILES if host.has(role)]
        at = host.connection
        references = {
            "password": at.password,
            "key_passphrase": at.key_passphrase,
            "sudo_password": at.sudo_password,
            "http_proxy": host.http_proxy.secret,
        }
        secret_files = [(key, reference.file) for key, reference in references.items() if reference]
        for key, path in [("key", at.key), *secret_files, *settings]:
            if path and path not in told and (why := _unreadable(key, path)):
                told.add(path)
                yield Problem(host.place(key), why)
        if host.has("cache") and (host.http_proxy.url or host.http_proxy.secret):
            said = "the role cache does not work behind a proxy, because nginx cannot use one"
            cure = f'set http_proxy = "" for {name}, or move the role to another host'
            yield Problem(host.place("http_proxy"), f"{said}; {cure}")


def _unreadable(key: str, path: Path) -> str:
    """Why the file of a setting is not what it must be; empty if it may be."""
    if not path.exists():
        return f"there is no file {path}"
    if path.is_dir():
        return f"{path} is a folder; write the file in it"
    if key == "key" and path.is_file() and PUBLIC.match(_beginning(path)):
        private = f": {path.with_suffix('')}" if path.suffix == ".pub" else ""
        return f"{path} is a public key; write the private one{private}"
    return ""


def _beginning(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(100)
    except OSError:
        return b""


def needed_secrets(secrets: Secrets, hosts: Mapping[str, HostSettings]) -> Iterator[Problem]:
    """Secrets of gateways that are missing, or that no gateway uses."""
    gateways = {name: host.gateway for name, host in hosts.items() if host.has("gateway") and host.gateway.enabled}
    names = ", ".join(gateways)
    if gateways and not secrets.gateway_logins:
        told = f"nobody could log in at the gateway of {names}"
        yield Problem("secrets.gateway_logins", f'{told}; set it, e.g. {{ file = "logins" }} with lines NAME:PASSWORD')
    if not secrets.gateway_key and any(gateway.tls == "given" for gateway in gateways.values()):
        yield Problem("secrets.gateway_key", f'is required, as gateway.tls is "given" for {names}')
    elif secrets.gateway_key and not any(gateway.tls == "given" for gateway in gateways.values()):
        yield Problem("secrets.gateway_key", 'is not used: it needs gateway.tls = "given"')


def silent_groups(
    table: FleetTable, models: Iterable[Model], hosts: Mapping[str, HostSettings], tables: Iterable[str]
) -> Iterator[str]:
    """A sentence for each group that is used or has settings in `tables`, but has no hosts."""
    there = {group for host in hosts.values() for group in host.groups}
    for group in tables:
        if group not in there:
            yield f"groups.{group}: no host is in this group, so none gets its settings{did_you_mean(group, there)}"
    for model in models:
        if model.groups and not there & set(model.groups):
            yield f"models.{model.name}: no host is in {' or '.join(model.groups)}, so none gets it"
    for group in table.rollout.groups:
        if group not in there:
            yield f"fleet.rollout.groups: no host is in {group}"
