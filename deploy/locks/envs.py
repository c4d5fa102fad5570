"""`sdfleet lock envs`: hashed requirements locks for each application, Python and torch build, compiled by uv."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import typer

from deploy.console import out
from deploy.locks import envs_check, indexes
from deploy.locks.consensus import Witnesses, confirmation
from deploy.locks.env_locks import ON_PYPI, EnvironmentLock, fleet_locks, shipped_locks
from deploy.names import Application
from inventory import lock as locks
from inventory.errors import SdfleetError
from inventory.files import replace_file
from inventory.load import load
from inventory.model import Fleet
from roles.comfyui import release as comfyui_release
from roles.lora_scripts import release as lora_release
from roles.mirrors.config import Mirrors
from roles.operations.locks import CPU, OVERRIDES
from roles.trainer import release as trainer_release
from roles.webui import release as webui_release

SHIPPED = {
    "webui": webui_release.LOCKS,
    "comfyui": comfyui_release.LOCKS,
    "lora_scripts": lora_release.LOCKS,
    "trainer": trainer_release.LOCKS,
}
"""Folders of the locks that come with sdfleet, by application."""


def envs(
    fleet: Path,
    into: Path | None,
    app: list[Application] | None,
    python: list[str] | None,
    build: list[str] | None,
    shipped: bool,
    source: list[str] | None,
    verify: bool,
) -> None:
    applications = app or tuple(Application)
    if shipped:
        if verify:
            raise typer.Exit(envs_check.verified([SHIPPED[each] for each in applications], Mirrors(), _say))
        remake(applications, SHIPPED)
        return
    loaded = load(fleet)
    if verify:
        folders = [into] if into else [loaded.file.parent / "locks" / application for application in applications]
        raise typer.Exit(envs_check.verified(folders, next(iter(loaded.hosts.values())).direct, _say))
    sources = {**indexes.SOURCES, **dict(map(_source, source or ()))}
    folder = into or loaded.file.parent / "locks"
    folders_by_app = {application: into or folder / application for application in applications}
    made, failed = _make_all(loaded, folders_by_app, python or (), build or (), sources)
    if not made or (build and failed):
        raise SdfleetError("no lock was made" if not made else "some of the requested builds could not be locked")
    _say(f'Next: review {folder}, name it in fleet.toml (webui.requirements = "locks/webui"), sdfleet lock')


def _make_all(
    fleet: Fleet,
    folders: Mapping[Application, Path],
    pythons: Sequence[str],
    builds: Sequence[str],
    sources: Mapping[str, Sequence[str]],
) -> tuple[int, int]:
    """Make the locks that the fleet's hosts can use. Returns how many were made, and how many could not be.

    + folders: where to write the locks of each application
    + pythons, builds: limit to these, if there are any
    """
    made, failed, witnesses = 0, 0, Witnesses()
    pinned = [locks.pin_host(host, locks.read(fleet.file)) for host in fleet.hosts.values()]
    for application, folder in folders.items():
        for wanted, mirrors in fleet_locks(application, pinned, pythons):
            if builds and wanted.torch.build not in builds:
                continue
            try:
                changed = make(wanted, mirrors, folder, witnesses, sources)
            except SdfleetError as error:
                failed += 1
                _say(f"{application} {wanted.name}: could not be locked: {error}")
                continue
            made += 1
            _say(f"{application} {wanted.name}: {'written' if changed else 'unchanged'}")
    return made, failed


def _source(value: str) -> tuple[str, Sequence[str]]:
    """Name and requirements of a --source. Raises SdfleetError if it is invalid."""
    name, _, needs = value.partition(":")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name.strip()):
        raise SdfleetError(f"--source {value!r} is not NAME: REQUIREMENT, REQUIREMENT")
    return name.strip(), [need.strip() for need in needs.split(",") if need.strip()]


def remake(applications: Iterable[Application], folders: Mapping[str, Path], mirrors: Mirrors | None = None) -> None:
    """Update the existing locks in `folders`, by application, and add none. Raises SdfleetError."""
    mirrors, witnesses = mirrors or Mirrors(), Witnesses()
    for application in applications:
        names = {path.name for path in folders[application].glob("*.txt")}
        for python in sorted(set(re.findall(r"py(\d+\.\d+)-", " ".join(names)))):
            for wanted in shipped_locks(application, mirrors, python):
                if wanted.name in names:
                    changed = make(wanted, mirrors, folders[application], witnesses)
                    names.discard(wanted.name)
                    _say(f"{application} {wanted.name}: {'written' if changed else 'unchanged'}")
        if names:
            raise SdfleetError(f"{application}: no build makes {', '.join(sorted(names))}; delete what is not used")


def _say(text: str) -> None:
    out.print(text)


def make(
    wanted: EnvironmentLock,
    mirrors: Mirrors,
    folder: Path,
    witnesses: Witnesses,
    sources: Mapping[str, Sequence[str]] = indexes.SOURCES,
) -> bool:
    """Write a lock and return whether it changed. Pins that still fit are kept.

    A new lock starts from that of another build, so that the two differ only in torch and its dependencies.

    + witnesses: which servers did not answer before
    + sources: packages without a wheel, and what each requires
    Raises SdfleetError if there is no answer, or two that differ.
    """
    final = folder / wanted.name
    before = final.read_text() if final.exists() else ""
    beside = folder.glob(final.name.replace(f"-{wanted.torch.build}.", "-*."))
    build = "" if (wanted.torch.torch, wanted.torch.build) in ON_PYPI else wanted.torch.build
    endpoints = indexes.endpoints_of(build, mirrors)
    question = indexes.Question(wanted.requirements, wanted.python, build, sources, wanted.overrides)
    alike = before or next((path.read_text() for path in sorted(beside)), "")
    body, asked = indexes.resolve(question, endpoints, alike, witnesses)
    for kind, place in endpoints.items():
        _say(f"{wanted.name}: {confirmation(asked[kind], place, envs_check.VERIFY)}")
    text = _header(wanted, [endpoint for found in asked.values() for endpoint in found]) + body
    # New comments alone (which index answered, what requires what) must not rebuild environments on hosts.
    if _entries(text) == _entries(before):
        return False
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(final, text)
    return True


def _entries(lock: str) -> list[str]:
    return [line for line in lock.splitlines() if not line.lstrip().startswith("#")]


def _header(wanted: EnvironmentLock, asked: Sequence[str]) -> str:
    instead = f"{OVERRIDES}{' '.join(wanted.overrides)}\n" if wanted.overrides else ""
    device = "for hosts without a GPU" if wanted.torch.build == CPU else "it computes on CPUs as well"
    return (
        f"# {wanted.about}\n"
        f"# Python {wanted.python}, Linux x86-64, torch {wanted.torch.torch} ({wanted.torch.build}; {device}).\n"
        f"# Made by: sdfleet lock envs --python {wanted.python} --build {wanted.torch.build}\n"
        f"{instead}"
        f"{indexes.ASKED}{' '.join(asked)}\n"
    )
