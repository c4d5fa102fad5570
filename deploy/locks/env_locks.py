"""The locks that each application needs: one for each Python and torch build, and what it has to contain."""

import itertools
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from deploy.locks import gitrefs
from deploy.names import Application
from inventory.errors import SdfleetError
from inventory.model import HostSettings
from roles.comfyui.config import Comfyui, CustomNode
from roles.comfyui.release import lock_version as comfyui_lock_version
from roles.gpu.torch_builds import COMFYUI, LORA_SCRIPTS, TRAINER, WEBUI, WEBUI_FORKS, Torch
from roles.lora_scripts.config import LoraScripts
from roles.mirrors.config import Mirrors
from roles.operations.application import COMMIT
from roles.operations.locks import lock_name
from roles.webui.config import Extension, Webui
from roles.webui.flavors import FLAVORS
from roles.webui.release import lock_version
from training.archive import CODE

ON_PYPI = frozenset({("2.1.2", "cu121"), ("2.7.1", "cu126"), ("2.8.0", "cu128"), ("2.9.1", "cu128")})
"""The one build of each torch release that is on the package index itself; the others are on PyTorch's indexes."""

BY_HAND = ("onnxruntime==1.19.2", "setuptools<81", "wheel")
"""What lora-scripts' installers add to its requirements; old setup.py files need pkg_resources from setuptools."""


BESIDE_COMFYUI = ("transformers<5",)
"""ComfyUI imports requests but does not ask for it; transformers brought it before version 5."""


@dataclass(frozen=True)
class EnvironmentLock:
    """One lock that can be made."""

    name: str
    about: str
    """First line of the file: its purpose."""
    requirements: str
    """Text of a requirements file."""
    python: str
    torch: Torch
    overrides: tuple[str, ...] = ()
    """Versions that hold although another package asks for others."""


def fleet_locks(
    application: Application, hosts: Iterable[HostSettings], pythons: Sequence[str]
) -> Iterator[tuple[EnvironmentLock, Mirrors]]:
    """Every lock that the fleet's hosts can use, without duplicates."""
    seen: set[str] = set()
    for host in hosts:
        if not host.has(application):
            continue
        wished = pythons or [getattr(host, application).python]
        found = [wanted for python in wished for wanted in _host_locks(application, host, python)]
        yield from ((wanted, host.direct) for wanted in found if wanted.name not in seen)
        seen |= {wanted.name for wanted in found}


def _host_locks(application: Application, host: HostSettings, python: str) -> Iterator[EnvironmentLock]:
    match application:
        case Application.WEBUI:
            return webui_locks(host.webui, host.direct, python)
        case Application.COMFYUI:
            return comfyui_locks(host.comfyui, host.direct, python)
        case Application.LORA_SCRIPTS:
            return lora_scripts_locks(host.lora_scripts, host.direct, python)
        case Application.TRAINER:
            return trainer_locks(python)


def shipped_locks(application: Application, mirrors: Mirrors, python: str) -> Iterator[EnvironmentLock]:
    """Every lock that comes with sdfleet."""
    match application:
        case Application.WEBUI:
            return itertools.chain.from_iterable(
                webui_locks(
                    Webui.model_validate({"flavor": name, "commit": flavor.commits[flavor.ref]}), mirrors, python
                )
                for name, flavor in FLAVORS.items()
            )
        case Application.COMFYUI:
            return comfyui_locks(Comfyui(), mirrors, python)
        case Application.LORA_SCRIPTS:
            return lora_scripts_locks(LoraScripts(), mirrors, python)
        case Application.TRAINER:
            return trainer_locks(python)


def webui_locks(webui: Webui, mirrors: Mirrors, python: str) -> Iterator[EnvironmentLock]:
    """One lock per torch build for a WebUI with its extensions. Raises SdfleetError if its code cannot be read."""
    flavor = FLAVORS[webui.flavor]
    about, texts = _with_parts("webui", webui, flavor.requirements, webui.extensions, mirrors)
    for torch in WEBUI_FORKS.get(webui.flavor, WEBUI):
        requirements = _with_torch(texts, torch, flavor.beside)
        name = lock_name(lock_version(webui), python, torch.build)
        yield EnvironmentLock(name, about, requirements, python, torch, flavor.overrides)


def comfyui_locks(comfyui: Comfyui, mirrors: Mirrors, python: str) -> Iterator[EnvironmentLock]:
    """One lock per torch build for ComfyUI with its custom nodes. Raises SdfleetError if its code cannot be read."""
    about, texts = _with_parts("comfyui", comfyui, "requirements.txt", comfyui.custom_nodes, mirrors)
    for torch in COMFYUI:
        requirements = _with_torch(texts, torch, [f"torchaudio=={_version(torch)}", *BESIDE_COMFYUI])
        name = lock_name(comfyui_lock_version(comfyui), python, torch.build)
        yield EnvironmentLock(name, about, requirements, python, torch)


def lora_scripts_locks(scripts: LoraScripts, mirrors: Mirrors, python: str) -> Iterator[EnvironmentLock]:
    """One lock per torch build for lora-scripts. Raises SdfleetError if its code cannot be read."""
    commit, own = _pinned_requirements("lora_scripts", scripts, "requirements.txt", mirrors)
    about = f"{scripts.repository} ({commit})"
    for torch in LORA_SCRIPTS:
        requirements = _with_torch([own], torch, BY_HAND)
        yield EnvironmentLock(lock_name(commit[:10], python, torch.build), about, requirements, python, torch)


def trainer_locks(python: str) -> Iterator[EnvironmentLock]:
    """One lock per torch build for the trainer."""
    project = tomllib.loads((CODE / "pyproject.toml").read_text())["project"]
    needs = [*project["dependencies"], *project["optional-dependencies"]["optimizers"]]
    for torch in TRAINER:
        requirements = "\n".join([*needs, f"torch=={_version(torch)}"]) + "\n"
        yield EnvironmentLock(lock_name("", python, torch.build), "sdfleet's trainer", requirements, python, torch)


def _with_parts(
    role: str, app: Webui | Comfyui, file: str, parts: Iterable[Extension | CustomNode], mirrors: Mirrors
) -> tuple[str, list[str]]:
    """What a lock is for, and the texts of the requirements files of an application and its `parts`.

    + file: of the application's own requirements
    Raises SdfleetError if its code cannot be read.
    """
    commit, own = _pinned_requirements(role, app, file, mirrors)
    called = f"{app.ref} ({commit})" if app.ref != commit else f"({commit})"
    names, texts = [f"{app.repository} {called}"], [own]
    for part in parts:
        names.append(f"{part.name} {part.commit[:10]}")
        texts.append(gitrefs.file_at(part.url, part.commit, "requirements.txt", mirrors.github) or "")
    return ", ".join(names), texts


def _pinned_requirements(role: str, app: Webui | Comfyui | LoraScripts, file: str, mirrors: Mirrors) -> tuple[str, str]:
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


def _version(torch: Torch, number: str = "") -> str:
    """The version of this build: PyTorch's indexes add a local version, the package index does not."""
    number = number or torch.torch
    return number if (torch.torch, torch.build) in ON_PYPI else f"{number}+{torch.build}"
