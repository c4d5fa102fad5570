"""Checks between tables of fleet.toml, and of files on the controller that it names."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from inventory.errors import Problem
from inventory.model import FleetTable, HostSettings, HostTable
from inventory.secrets import Secrets
from roles.models.config import Model
from training.spelling import did_you_mean_or_all

FILES = (
    ("webui", "requirements"),
    ("lora_scripts", "requirements"),
    ("trainer", "requirements"),
    ("gateway", "certificate"),
)
"""Settings that are paths on the controller, relative to fleet.toml."""


def unknown_groups(key: str, named: Iterable[str], known: Collection[str]) -> Iterator[Problem]:
    """A problem for each group in the setting `key` that does not exist."""
    for group in named:
        if group not in known:
            yield Problem(key, f"no group {group!r}{did_you_mean_or_all(group, known)}")


def groups(table: FleetTable | None, models: Iterable[Model], known: Collection[str]) -> Iterator[Problem]:
    """The groups that models and rollouts name."""
    yield from unknown_groups("fleet.rollout.groups", table.rollout.groups if table else (), known)
    for model in models:
        yield from unknown_groups(f"models.{model.name}.groups", model.groups, known)


def one_machine(hosts: Mapping[str, HostTable | None]) -> Iterator[Problem]:
    """Hosts with the same address and port: the same machine, listed twice."""
    seen: dict[tuple[str, int, str | None], str] = {}
    for name, host in hosts.items():
        if host is None:
            continue
        place = (host.address.lower(), host.port, host.jump)
        if place in seen:
            where = f"{host.address} port {host.port}"
            yield Problem(
                f"hosts.{name}.address", f"hosts.{seen[place]} has the same address {where}; keep one of them"
            )
        seen.setdefault(place, name)


def needs(
    table: FleetTable | None, secrets: Secrets | None, hosts: Mapping[str, HostSettings], here: Path
) -> Iterator[Problem]:
    """Secrets and files on the controller that the hosts need and that are missing.

    + here: folder of fleet.toml, to which paths are relative
    """
    if secrets:
        yield from _needed_secrets(secrets, hosts)
        for name in type(secrets).model_fields:
            reference = getattr(secrets, name)
            if reference and reference.file and not (here / reference.file).is_file():
                yield Problem(f"secrets.{name}", f"there is no file {here / reference.file}")
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
            if path and path not in told and not path.exists():
                told.add(path)
                yield Problem(f"hosts.{name}.{key}", f"there is no file {path}")
        if host.has("cache") and (host.http_proxy.url or host.http_proxy.secret):
            said = "the role cache does not work behind a proxy, because nginx cannot use one"
            yield Problem(
                f"hosts.{name}.http_proxy",
                f'{said}; set http_proxy = "" for this host, or move the role to another one',
            )


def _needed_secrets(secrets: Secrets, hosts: Mapping[str, HostSettings]) -> Iterator[Problem]:
    gateways = {name: host.gateway for name, host in hosts.items() if host.has("gateway") and host.gateway.enabled}
    names = ", ".join(gateways)
    if gateways and not secrets.gateway_logins:
        told = f"nobody could log in at the gateway of {names}"
        yield Problem("secrets.gateway_logins", f'{told}; set it, e.g. {{ file = "logins" }} with lines NAME:PASSWORD')
    if not secrets.gateway_key and any(gateway.tls == "given" for gateway in gateways.values()):
        yield Problem("secrets.gateway_key", f'is required, as gateway.tls is "given" for {names}')
    elif secrets.gateway_key and not any(gateway.tls == "given" for gateway in gateways.values()):
        yield Problem("secrets.gateway_key", 'is not used: it needs gateway.tls = "given"')


def silent_groups(table: FleetTable, models: Iterable[Model], hosts: Mapping[str, HostSettings]) -> Iterator[str]:
    """A sentence for each group that is used and exists, but has no hosts."""
    there = {group for host in hosts.values() for group in host.groups}
    for model in models:
        if model.groups and not there & set(model.groups):
            yield f"models.{model.name}: no host is in {' or '.join(model.groups)}, so none gets it"
    for group in table.rollout.groups:
        if group not in there:
            yield f"fleet.rollout.groups: no host is in {group}"
