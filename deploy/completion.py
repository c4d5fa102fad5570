"""What a shell completes: names in fleet.toml as it is written. Nothing is validated, and no host is asked."""

import os
import tomllib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import typer

from deploy.names import APPS, DEFAULT_FILE, SERVICES, Application

ROLES = Path(__file__).resolve().parent.parent / "roles"


def hosts(ctx: typer.Context) -> list[str]:
    """The hosts."""
    return list(_table(ctx, "hosts"))


def hosts_and_groups(ctx: typer.Context) -> list[str]:
    """The hosts, and the groups that have some."""
    groups = (group for host in _table(ctx, "hosts").values() for group in _groups(host))
    return list(dict.fromkeys([*hosts(ctx), *groups]))


def several(ctx: typer.Context, incomplete: str) -> list[str]:
    """The same, with commas between."""
    given, comma, _ = incomplete.rpartition(",")
    return [f"{given}{comma}{name}" for name in hosts_and_groups(ctx) if name not in given.split(",")]


def services(ctx: typer.Context) -> list[str]:
    """The services."""
    return list(SERVICES)


def services_and_hosts(ctx: typer.Context) -> list[str]:
    """The services, hosts and groups."""
    return [*services(ctx), *hosts_and_groups(ctx)]


def services_and_runs(ctx: typer.Context) -> list[str]:
    """What has a log."""
    return [*services(ctx), *runs(ctx)]


def applications(ctx: typer.Context) -> list[str]:
    """The applications that have releases."""
    return list(APPS)


def roles(ctx: typer.Context) -> list[str]:
    """The roles."""
    return sorted(file.parent.name for file in ROLES.glob("*/tasks.py"))


def models(ctx: typer.Context) -> list[str]:
    """The models."""
    return [str(model["name"]) for model in _models(ctx) if "name" in model]


def updates(ctx: typer.Context) -> list[str]:
    """What `sdfleet update` can renew."""
    # The trainer's code comes with sdfleet.
    return [*(app for app in APPS if app != Application.TRAINER), *models(ctx)]


def runs(ctx: typer.Context) -> list[str]:
    """The training runs that are known here: fetched ones, and those whose LoRA is a model of the fleet."""
    folder = Path(ctx.params.get("into") or "runs")
    fetched = sorted(_entries(folder))
    sources = (str(model.get("source", "")) for model in _models(ctx))
    used = (source.removeprefix("run:").partition("/")[0] for source in sources if source.startswith("run:"))
    return list(dict.fromkeys([*fetched, *used]))


def _entries(folder: Path) -> Iterable[str]:
    try:
        return [entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith(".")]
    except OSError:
        return []


def _groups(host: Any) -> Collection[str]:
    """A host's groups; those of HostTable.groups if it names none."""
    given = host.get("groups") if isinstance(host, dict) else None
    return [str(group) for group in given] if isinstance(given, list) else ("webui", "train")


def _models(ctx: typer.Context) -> list[Mapping[str, Any]]:
    found = _file(ctx).get("models")
    return [model for model in found if isinstance(model, dict)] if isinstance(found, list) else []


def _table(ctx: typer.Context, name: str) -> Mapping[str, Any]:
    found = _file(ctx).get(name)
    return found if isinstance(found, dict) else {}


def _file(ctx: typer.Context) -> Mapping[str, Any]:
    """The fleet's file as it is; empty if it cannot be read: a shell has no place for an error."""
    try:
        return tomllib.loads(Path(ctx.params.get("fleet") or DEFAULT_FILE).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return {}
