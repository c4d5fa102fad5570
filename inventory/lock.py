"""fleet.lock: what every moving name of fleet.toml stood for when `sdfleet lock` looked it up."""

import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from inventory.errors import ConfigError, Problem
from inventory.files import replace_file
from inventory.model import Fleet, HostSettings
from roles.comfyui.config import Comfyui
from roles.lora_scripts.config import LoraScripts
from roles.models.config import CLIP, LockedModel, Model, ModelCard, Pin, unlocked
from roles.names import Commit, FilePath, Line, Revision
from roles.settings import Settings
from roles.webui.config import Webui
from roles.webui.flavors import FLAVORS

COMMIT_LENGTH = 40
HINT = "run `sdfleet lock`"


class GitPin(Settings):
    """The commit that a git ref stood for."""

    commit: Commit
    submodules: dict[FilePath, Commit] = Field(
        default={}, description="Path -> commit; determined by the commit above."
    )
    asked: tuple[Line, ...] = Field(default=(), description="Who said so, when it was looked up.")


class ModelPin(Settings):
    """The files that a model's source stood for."""

    source: str
    wanted: tuple[str, ...] = Field(default=(), description="The patterns of `files`, for kind hub.")
    revision: Revision = ""
    files: tuple[Pin, ...]
    card: ModelCard | None = None
    asked: tuple[Line, ...] = Field(default=(), description="Who said so, when it was looked up.")


class Lock(Settings):
    """The whole file."""

    version: Literal[1] = 1
    git: dict[str, dict[str, GitPin]] = Field(default={}, description="Clone URL -> ref -> commit.")
    models: dict[str, ModelPin] = Field(default={}, description="KIND/NAME -> its files.")
    environments: dict[str, tuple[str, ...]] = Field(
        default={}, description="Application -> keys of its Python environments, sorted."
    )

    def commit(self, url: str, ref: str) -> str | None:
        """The commit of a ref; None if it is not in the lock."""
        pin = self.git.get(url, {}).get(ref)
        return pin.commit if pin else None

    def text(self) -> str:
        """The file's text, sorted: the same lock is always the same bytes, and changes are readable diffs."""
        return json.dumps(self.model_dump(exclude_defaults=True) | {"version": 1}, indent=2, sort_keys=True) + "\n"


def lock_file(fleet_file: Path) -> Path:
    """The path of the lock of a fleet's file."""
    return fleet_file.with_suffix(".lock")


def read(fleet_file: Path) -> Lock:
    """The lock beside a fleet's file; an empty one if there is none. Raises ConfigError if it is damaged."""
    file = lock_file(fleet_file)
    try:
        return Lock.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return Lock()
    except (OSError, ValidationError) as error:
        message = f"is damaged ({str(error).splitlines()[0]}); restore it from version control, or delete it and {HINT}"
        raise ConfigError(str(file), [Problem("", message)]) from error


def write(fleet_file: Path, lock: Lock) -> None:
    """Replace the lock beside a fleet's file."""
    replace_file(lock_file(fleet_file), lock.text())


def key(model: Model) -> str:
    """A model's key in the lock."""
    return f"{model.kind}/{model.name}"


def applications(host: HostSettings) -> dict[str, Webui | Comfyui | LoraScripts]:
    """The settings of all that comes from a git repository, by role, whether the host has it or not."""
    return {"webui": host.webui, "comfyui": host.comfyui, "lora_scripts": host.lora_scripts}


def pin_host(host: HostSettings, lock: Lock) -> HostSettings:
    """The host's settings with the commits and files of the lock."""
    pinned: dict[str, object] = {"models": tuple(pin_model(model, lock) for model in host.models)}
    for role, app in applications(host).items():
        commit = app.commit or lock.commit(app.repository, app.ref)
        pinned[role] = app.model_copy(update={"commit": commit})
    return host.model_copy(update=pinned)


def pin_model(model: Model, lock: Lock) -> Model:
    """The model with its exact files, if the lock has the same source, file patterns and hash."""
    model = unlocked(model)
    pin = lock.models.get(key(model))
    if pin is None or pin.source != model.source or pin.wanted != model.files:
        return model
    if model.sha256 and [file.sha256 for file in pin.files] != [model.sha256]:
        return model
    return LockedModel(**model.model_dump(), revision=pin.revision, pins=pin.files, card=pin.card)


def require(fleet: Fleet, hosts: Iterable[str], roles: Collection[str]) -> None:
    """Raise ConfigError naming every key, of these hosts and roles, that neither fleet.toml nor fleet.lock pins.

    Without any fleet.lock that is one sentence: the keys, some of them of models that sdfleet adds, say no more.
    """
    found: dict[str, str] = {}
    for name in hosts:
        found |= _gaps(fleet.hosts[name], roles)
    if found and not (file := lock_file(fleet.file)).exists():
        raise ConfigError(str(fleet.file), [Problem("", f"there is no {file.name} yet; run: sdfleet lock")])
    if found:
        raise ConfigError(str(fleet.file), [Problem(place, message) for place, message in sorted(found.items())])


def _gaps(host: HostSettings, roles: Collection[str]) -> dict[str, str]:
    gaps = {
        f"models.{model.name}": f"{_lacks(model)} fleet.lock; {HINT}"
        for model in host.models
        if "models" in roles and not isinstance(model, LockedModel) and not (model.sha256 and _direct(model))
    }
    for role, app in applications(host).items():
        known = FLAVORS[app.flavor].commits if isinstance(app, Webui) else {}
        pinned = app.commit or app.ref in known or len(app.ref) == COMMIT_LENGTH
        if role in roles and host.has(role) and not pinned:
            gaps[host.place(f"{role}.ref")] = (
                f"{app.ref!r} can move and is not in fleet.lock; {HINT}, or set a full commit id"
            )
    return gaps


def _lacks(model: Model) -> str:
    if unlocked(model) == CLIP:  # nobody wrote it, so there is no "here"
        return "what draws or trains needs this tokenizer, which is not in"
    return "has no sha256 here and is not in"


def _direct(model: Model) -> bool:
    """Whether the source names exactly one file, so that only the sha256 is missing."""
    return (
        model.source.startswith(("hf:", "modelscope:", "https:", "http:", "file:", "host:", "adopted:"))
        and not model.files
    )
