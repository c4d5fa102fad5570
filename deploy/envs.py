"""`sdfleet lock envs`: hashed requirements locks for each application, Python and torch build, compiled by uv."""

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from deploy import envs_check, gitrefs, indexes
from deploy.consensus import Witnesses, confirmation
from deploy.console import out
from deploy.options import DEFAULT_FILE, FleetFile
from inventory import lock as locks
from inventory.errors import SdfleetError
from inventory.files import replace_file
from inventory.load import load
from inventory.model import HostSettings
from roles.gpu.torch_builds import LORA_SCRIPTS, TRAINER, WEBUI, Torch
from roles.lora_scripts import release as lora_release
from roles.lora_scripts.config import LoraScripts
from roles.mirrors.config import Mirrors
from roles.operations.application import COMMIT
from roles.operations.locks import CPU, lock_name
from roles.trainer import release as trainer_release
from roles.webui import release as webui_release
from roles.webui.config import KNOWN_REFS, Webui
from roles.webui.release import lock_version
from training.archive import CODE

ON_PYPI = frozenset({("2.1.2", "cu121"), ("2.7.1", "cu126"), ("2.8.0", "cu128"), ("2.9.1", "cu128")})
"""The one build of each torch release that is on the package index itself; the others are on PyTorch's indexes."""

BESIDE_THE_WEBUI = ("ftfy", "regex", "tqdm", "packaging", "wheel")
"""Dependencies and build tools of CLIP, which is installed from its commit without dependencies."""

BY_HAND = ("onnxruntime==1.19.2", "setuptools<81", "wheel")
"""What lora-scripts' installers add to its requirements; old setup.py files need pkg_resources from setuptools."""

SHIPPED = {"webui": webui_release.LOCKS, "lora_scripts": lora_release.LOCKS, "trainer": trainer_release.LOCKS}
"""Folders of the locks that come with sdfleet, by application."""


class Application(StrEnum):
    """An application with its own environment."""

    WEBUI = "webui"
    LORA_SCRIPTS = "lora_scripts"
    TRAINER = "trainer"


@dataclass(frozen=True)
class Wanted:
    """One lock that can be made."""

    name: str
    about: str
    """First line of the file: its purpose."""
    requirements: str
    """Text of a requirements file."""
    python: str
    torch: Torch


def envs(
    fleet: FleetFile = DEFAULT_FILE,
    into: Annotated[Path | None, typer.Option(help="Folder to write to. Default: locks/ beside fleet.toml.")] = None,
    app: Annotated[
        list[Application] | None,
        typer.Option(metavar="APP", help=f"Limit to this one of {', '.join(Application)}; repeat for more."),
    ] = None,
    python: Annotated[
        list[str] | None,
        typer.Option(metavar="VERSION", help="Python version instead of the fleet's; repeat for more."),
    ] = None,
    build: Annotated[
        list[str] | None,
        typer.Option(metavar="BUILD", help="Limit to this torch build, such as cu128; repeat for more."),
    ] = None,
    shipped: Annotated[
        bool, typer.Option("--shipped", help="Update the lock files that ship with sdfleet, in a checkout of it.")
    ] = False,
    source: Annotated[
        list[str] | None,
        typer.Option(
            metavar="'NAME: REQUIREMENT, ...'",
            help="A package without a wheel, and what it requires; repeat for more.",
        ),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Change nothing: ask other mirrors, and exit with 3 on a difference."),
    ] = False,
) -> None:
    """Write hashed lock files of the Python environments, one for each torch build, to keep beside fleet.toml."""
    applications = app or tuple(Application)
    if shipped:
        if verify:
            raise typer.Exit(
                envs_check.verified([SHIPPED[application] for application in applications], Mirrors(), _say)
            )
        remake(applications, SHIPPED)
        return
    loaded = load(fleet)
    if verify:
        folders = [into] if into else [loaded.file.parent / "locks" / application for application in applications]
        raise typer.Exit(envs_check.verified(folders, next(iter(loaded.hosts.values())).direct, _say))
    sources = {**indexes.SOURCES, **dict(map(_source, source or ()))}
    pinned = [locks.pin_host(host, locks.read(loaded.file)) for host in loaded.hosts.values()]
    folder = into or loaded.file.parent / "locks"
    made, failed, witnesses = 0, 0, Witnesses()
    for application in applications:
        for wanted, mirrors in _all(application, pinned, python or ()):
            if build and wanted.torch.build not in build:
                continue
            place = folder / application if into is None else folder
            try:
                changed = make(wanted, mirrors, place, witnesses, sources)
            except SdfleetError as error:
                failed += 1
                _say(f"{application} {wanted.name}: could not be locked: {error}")
                continue
            made += 1
            _say(f"{application} {wanted.name}: {'written' if changed else 'as it was'}")
    if not made or (build and failed):
        raise SdfleetError("no lock was made" if not made else "some of the requested builds could not be locked")
    _say(f'Next: review {folder}, name it in fleet.toml (webui.requirements = "locks/webui"), sdfleet lock')


def _source(value: str) -> tuple[str, Sequence[str]]:
    """The name and the requirements of a --source. SdfleetError if it is none."""
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
            for wanted in _of_sdfleets_own(application, mirrors, python):
                if wanted.name in names:
                    changed = make(wanted, mirrors, folders[application], witnesses)
                    names.discard(wanted.name)
                    _say(f"{application} {wanted.name}: {'written' if changed else 'as it was'}")
        if names:
            raise SdfleetError(f"{application}: nothing makes {', '.join(sorted(names))}; delete what is not used")


def _of_sdfleets_own(application: Application, mirrors: Mirrors, python: str) -> Iterator[Wanted]:
    if application is Application.WEBUI:
        webui = Webui()
        return webui_locks(webui.model_copy(update={"commit": KNOWN_REFS[webui.ref]}), mirrors, python)
    if application is Application.LORA_SCRIPTS:
        return lora_scripts_locks(LoraScripts(), mirrors, python)
    return trainer_locks(python)


def _say(text: str) -> None:
    out.print(text)


def _all(
    application: Application, hosts: Iterable[HostSettings], pythons: Sequence[str]
) -> Iterator[tuple[Wanted, Mirrors]]:
    """Every lock that the fleet's hosts can use, without duplicates."""
    seen: set[str] = set()
    for host in hosts:
        if application is Application.WEBUI and host.has("webui"):
            found = [w for p in pythons or [host.webui.python] for w in webui_locks(host.webui, host.direct, p)]
        elif application is Application.TRAINER and host.has("trainer"):
            found = [w for p in pythons or [host.trainer.python] for w in trainer_locks(p)]
        elif application is Application.LORA_SCRIPTS and host.has("lora_scripts"):
            scripts = host.lora_scripts
            found = [w for p in pythons or [scripts.python] for w in lora_scripts_locks(scripts, host.direct, p)]
        else:
            continue
        yield from ((wanted, host.direct) for wanted in found if wanted.name not in seen)
        seen |= {wanted.name for wanted in found}


def webui_locks(webui: Webui, mirrors: Mirrors, python: str) -> Iterator[Wanted]:
    """One lock per torch build for a WebUI with its extensions. Raises SdfleetError if its code cannot be read."""
    commit, own = _asked_for("webui", webui, "requirements_versions.txt", mirrors)
    texts, names = [own], []
    for extension in webui.extensions:
        names.append(f"{extension.name} {extension.commit[:10]}")
        texts.append(gitrefs.file_at(extension.url, extension.commit, "requirements.txt", mirrors.github) or "")
    about = f"{webui.repository} {webui.ref} ({commit})" + "".join(f", {name}" for name in names)
    for torch in WEBUI:
        requirements = _with_torch(texts, torch, BESIDE_THE_WEBUI)
        name = lock_name(lock_version(webui), python, torch.build)
        yield Wanted(name, about, requirements, python, torch)


def lora_scripts_locks(scripts: LoraScripts, mirrors: Mirrors, python: str) -> Iterator[Wanted]:
    """One lock per torch build for lora-scripts. Raises SdfleetError if its code cannot be read."""
    commit, own = _asked_for("lora_scripts", scripts, "requirements.txt", mirrors)
    about = f"{scripts.repository} ({commit})"
    for torch in LORA_SCRIPTS:
        requirements = _with_torch([own], torch, BY_HAND)
        yield Wanted(lock_name(commit[:10], python, torch.build), about, requirements, python, torch)


def _asked_for(role: str, app: Webui | LoraScripts, file: str, mirrors: Mirrors) -> tuple[str, str]:
    """The pinned commit of an application, and the text of its requirements `file` there. Raises SdfleetError."""
    commit = app.commit or app.ref
    if not COMMIT.fullmatch(commit):
        raise SdfleetError(f"{role}.ref: {app.ref!r} is not pinned; run: sdfleet lock")
    own = gitrefs.file_at(app.repository, commit, file, mirrors.github)
    if own is None:
        raise SdfleetError(f"{app.repository} has no {file} at {commit[:10]}")
    return commit, own


def _with_torch(texts: Iterable[str], torch: Torch, beside: Sequence[str]) -> str:
    """Requirements files joined, with torch pinned to a build, and with packages that the files do not list."""
    pins = (f"torch=={_version(torch)}", f"torchvision=={_version(torch, torch.torchvision)}", *beside)
    return "\n".join((*texts, *pins)) + "\n"


def trainer_locks(python: str) -> Iterator[Wanted]:
    """One lock per torch build for the trainer."""
    project = tomllib.loads((CODE / "pyproject.toml").read_text())["project"]
    needs = [*project["dependencies"], *project["optional-dependencies"]["optimizers"]]
    for torch in TRAINER:
        requirements = "\n".join([*needs, f"torch=={_version(torch)}"]) + "\n"
        yield Wanted(lock_name("", python, torch.build), "sdfleet's trainer", requirements, python, torch)


def _version(torch: Torch, number: str = "") -> str:
    """The version of this build: PyTorch's indexes add a local version, the package index does not."""
    number = number or torch.torch
    return number if (torch.torch, torch.build) in ON_PYPI else f"{number}+{torch.build}"


def make(
    wanted: Wanted,
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
    question = indexes.Question(wanted.requirements, wanted.python, build, sources)
    alike = before or next((path.read_text() for path in sorted(beside)), "")
    body, asked = indexes.resolve(question, endpoints, alike, witnesses)
    for kind, place in endpoints.items():
        _say(f"{wanted.name}: {confirmation(asked[kind], place, envs_check.VERIFY)}")
    text = _header(wanted, [endpoint for found in asked.values() for endpoint in found]) + body
    # Comments, as on who says so or needs what, are no reason to give hosts a new environment.
    if _entries(text) == _entries(before):
        return False
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(final, text)
    return True


def _entries(lock: str) -> list[str]:
    return [line for line in lock.splitlines() if not line.lstrip().startswith("#")]


def _header(wanted: Wanted, asked: Sequence[str]) -> str:
    device = "for hosts without a GPU" if wanted.torch.build == CPU else "it computes on CPUs as well"
    return (
        f"# {wanted.about}\n"
        f"# Python {wanted.python}, Linux x86-64, torch {wanted.torch.torch} ({wanted.torch.build}; {device}).\n"
        f"# Made by: sdfleet lock envs --python {wanted.python} --build {wanted.torch.build}\n"
        f"{indexes.ASKED}{' '.join(asked)}\n"
    )
