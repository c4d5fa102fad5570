"""Turn a training config on the controller into what a host needs to run it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from deploy.runs import requirements
from inventory.errors import ConfigError, Problem
from inventory.model import HostSettings
from roles.models.config import Model, folder_of
from roles.models.wanted import WantedError, wanted
from training.digests import sha256_of
from training.errors import InputError, SettingsError
from training.sections.data import PICTURE_ENDINGS
from training.textfile import parse_toml, read_toml

# The training config and kohya's formats are imported where they are used: it takes long, and most verbs do without.

FLEET_MODELS = {"model.checkpoint": "checkpoint", "model.vae": "vae", "network.start_from": "lora"}
"""Settings that may name a model of the fleet -> its kind."""
OURS = frozenset({"data.cache_folder"})
"""Settings that are dropped, because they make no sense on another machine."""
LARGEST = 300_000_000
"""Largest file that the controller sends, in bytes; hosts download larger ones, as models."""


@dataclass(frozen=True)
class Submission:
    """A run, ready to send."""

    config: str
    """TOML, with the host's paths."""
    inputs: Mapping[str, Path]
    """Path below the run's inputs/ -> local file."""
    models: Mapping[str, PurePosixPath]
    """Name -> path on the host of each model of the fleet, which must be there already."""
    turn: Mapping[str, Any]
    """What the run needs of the host (see requirements.py)."""
    known: Mapping[str, str] = field(default_factory=dict)
    """Path below inputs/ -> sha256 of inputs that the host already has, unless they are in `inputs` too."""

    def hashes(self) -> dict[str, str]:
        """sha256 of each input, by its path below inputs/."""
        return {**self.known, **{name: sha256_of(file) for name, file in self.inputs.items()}}


def read(file: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """The tables of the config `file`, changed by `overrides` (key=value, value in TOML or plain text).

    Raises ConfigError.
    """
    from training.kohya.load import is_ours, translate

    try:
        # A config of kohya's or lora-scripts' has other words for the same.
        raw = read_toml(file) if is_ours(file) else dict(translate(file).settings)
    except InputError as error:
        raise ConfigError(str(file), [Problem("", p.removeprefix(f"{file}: ")) for p in error.problems]) from error
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key.strip():
            raise ConfigError("--set", [Problem("", f"{override!r} must be key=value, e.g. train.steps=100")])
        table = raw
        *parents, last = key.strip().split(".")
        for parent in parents:
            table = table.setdefault(parent, {})
            if not isinstance(table, dict):
                raise ConfigError("--set", [Problem(key.strip(), f"{parent} is not a table")])
        table[last] = _toml_value(value.strip())
    return raw


def _toml_value(text: str) -> Any:
    try:
        return parse_toml(f"value = {text}")["value"]
    except ValueError:
        return text


def prepare(
    raw: Mapping[str, Any], file: Path, run: str, host: HostSettings, hosts: Sequence[HostSettings] = ()
) -> Submission:
    """Validate the config `raw` of `file`, and gather what `run` needs on `host`, one of `hosts` if they share it.

    Raises ConfigError with every problem: of the config itself, and of the files that it names.
    """
    import tomlkit

    from training.config import Config, parse_config

    try:
        config = parse_config(raw, file)
    except SettingsError as error:
        raise ConfigError(str(file), [Problem(key, says) for key, says in error.settings]) from error
    gathering = _Gathering(raw, host, host.paths.run(run) / "inputs")
    tables = gathering.rewrite(config.model_dump(), "")
    if config.data.folder is not None and not any(_is_repeated(name) for name in gathering.inputs):
        gathering.complain("data.folder", f"{config.data.folder} holds no picture in a folder called N_name (10_cat)")
    if gathering.problems:
        raise ConfigError(str(file), gathering.problems)
    host_config = Config.model_validate(tables)
    text = tomlkit.dumps(host_config.model_dump(mode="json", exclude_none=True))
    return Submission(
        config=text, inputs=gathering.inputs, models=gathering.models, turn=requirements.turn(host_config, host, hosts)
    )


def _is_repeated(name: str) -> bool:
    """Whether an input is a picture that data.folder's rule (folders N_name) shows."""
    parts = PurePosixPath(name).parts
    return (
        len(parts) > 2
        and parts[0] == "data.folder"
        and parts[1].partition("_")[0].isdigit()
        and PurePosixPath(name).suffix.lower() in PICTURE_ENDINGS
    )


class _Gathering:
    """Walks over a config, replaces each path by the host's, and collects the files to send."""

    def __init__(self, raw: Mapping[str, Any], host: HostSettings, target: PurePosixPath) -> None:
        self.raw, self.host, self.target = raw, host, target
        self.inputs: dict[str, Path] = {}
        self.models: dict[str, PurePosixPath] = {}
        self.problems: list[Problem] = []

    def complain(self, key: str, message: str) -> None:
        self.problems.append(Problem(key, message))

    def rewrite(self, value: Any, key: str) -> Any:
        if isinstance(value, dict):
            return {name: self.rewrite(item, f"{key}.{name}" if key else name) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.rewrite(item, f"{key}.{index}") for index, item in enumerate(value)]
        if not isinstance(value, Path):
            return value
        return None if key in OURS else str(self._place(value, key))

    def _place(self, path: Path, key: str) -> PurePosixPath:
        """Where the file or folder `path` will be on the host."""
        if not path.exists() and (model := self._model(key)):
            return model
        if not path.exists():
            known = sorted(model.name for model in self.host.models if model.kind == FLEET_MODELS.get(key))
            models = f", and {self.host.name} has no model of this name (it has: {', '.join(known)})" if known else ""
            self.complain(key, f"{path} does not exist{models}")
        elif path.is_file():
            self._send(f"{key}/{path.name}", path, key)
            return self.target / key / path.name
        else:
            found = [p for p in sorted(path.rglob("*")) if p.is_file() and not _hidden(p.relative_to(path))]
            for file in found:
                self._send(f"{key}/{file.relative_to(path).as_posix()}", file, key)
            if not any(file.suffix.lower() in PICTURE_ENDINGS for file in found) and key.startswith("data."):
                self.complain(key, f"{path} has no pictures")
        return self.target / key

    def _model(self, key: str) -> PurePosixPath | None:
        """Path on the host of the fleet's model that the setting names, if it names one."""
        name: Any = self.raw
        for part in key.split("."):
            name = name.get(part) if isinstance(name, Mapping) else None
        for model in self.host.models:
            if key in FLEET_MODELS and (model.kind, model.name) == (FLEET_MODELS[key], name):
                self.models[model.name] = self._link(model)
                return self.models[model.name]
        return None

    def _link(self, model: Model) -> PurePosixPath:
        """The path where the models role puts it; a model that is not locked yet is not on the host."""
        try:
            return wanted([model], self.host.paths, self.host.mirrors).files[0].link
        except WantedError:
            return self.host.paths.data("webui") / folder_of(model) / f"{model.name}.safetensors"

    def _send(self, name: str, file: Path, key: str) -> None:
        if file.stat().st_size > LARGEST:
            size = f"{file.stat().st_size / 1e9:.1f} GB"
            self.complain(key, f"{file} ({size}) is too large to send; add it to [[models]] and use its name here")
        self.inputs[name] = file


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts) or path.suffix == ".npz"
