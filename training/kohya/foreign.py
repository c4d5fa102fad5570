"""Files of other programs: recognised, and read or refused with an alternative."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.errors import InputError
from training.kohya.conversion import Given

Table = dict[str, Any]

_INSTEAD = "lora-train reads its own TOML, sd-scripts' TOML, lora-scripts' TOML and train.sh, and kohya_ss' JSON"
UNREAD = {
    ".ps1": "is a PowerShell script; copy its settings into train.sh or a TOML file",
    ".bat": "is a Windows batch file; copy its settings into train.sh or a TOML file",
    ".cmd": "is a Windows batch file; copy its settings into train.sh or a TOML file",
    ".ipynb": "is a notebook; take the config files that it writes (config_file.toml, dataset_config.toml)",
    ".yaml": "is YAML, perhaps of another trainer or of accelerate",
    ".yml": "is YAML, perhaps of another trainer or of accelerate",
    ".safetensors": "is a model, not a config",
    ".ckpt": "is a model, not a config",
}


def refuse_unread(file: Path) -> None:
    """Raise InputError for a file of a kind that is not read, saying what it is."""
    what = UNREAD.get(file.suffix.lower())
    if what:
        raise InputError(f"{file}: {what}. {_INSTEAD}.")


def refuse_fleet(file: Path, raw: Mapping[str, Any]) -> None:
    """Raise InputError for a fleet's file, which is TOML too."""
    if isinstance(raw.get("hosts"), dict) or isinstance(raw.get("fleet"), dict):
        raise InputError(f"{file}: is a fleet file, not a training config; check it with: sdfleet check --fleet {file}")


def is_easy_scripts(raw: Mapping[str, Any]) -> bool:
    """Whether tables are those of LoRA_Easy_Training_Scripts, which contain `args` for sd-scripts."""
    return any(
        name.endswith("_args") and isinstance(table, dict) and isinstance(table.get("args"), dict)
        for name, table in raw.items()
    )


def read_easy_scripts(file: Path, raw: Mapping[str, Any]) -> tuple[dict[str, Given], Table, list[Table]]:
    """Options, [general] and [[datasets]] from a TOML of LoRA_Easy_Training_Scripts.

    Its tables hold `args` for the command line and `dataset_args` for the dataset file; arguments of the optimiser and
    the network are tables inside `args`. Raises InputError.
    """
    given: dict[str, Given] = {}
    general: Table = {}
    for section, content in raw.items():
        if section == "subsets" or not isinstance(content, dict):
            continue
        for part, target in (("args", None), ("dataset_args", general)):
            values = content.get(part, {})
            if not isinstance(values, dict):
                raise InputError(f"{file}: {section}.{part}: must be a table")
            for key, value in values.items():
                if isinstance(value, dict):
                    value = [f"{name}={item}" for name, item in value.items()]
                if target is None:
                    given[key] = Given(value, f"{section}.args.{key}")
                else:
                    target[key] = value
    subsets = raw.get("subsets", [])
    if not isinstance(subsets, list) or not all(isinstance(subset, dict) for subset in subsets):
        raise InputError(f"{file}: subsets: must be tables [[subsets]]")
    return given, general, [{"subsets": subsets}]
