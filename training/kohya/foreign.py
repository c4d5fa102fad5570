"""Files of other programs: recognised, and read or refused with an alternative."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.errors import InputError
from training.kohya.conversion import Entry

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
_NOT_READ = "not a training config that is read here"
OTHER_JSON = (
    ({"training_method", "concepts", "concept_file_name"}, f"is a config of OneTrainer, {_NOT_READ}"),
    ({"job", "process"}, f"is a config of ai-toolkit, {_NOT_READ}"),
    ({"peft_type"}, f"is PEFT's description of an adapter, {_NOT_READ}"),
    (
        {"_class_name", "_diffusers_version"},
        "is part of a diffusers folder, not a training config; set model.checkpoint to that folder",
    ),
    ({"data_root", "resume_ckpt"}, f"is a config of EveryDream 2, {_NOT_READ}"),
    ({"--model_type", "--pretrained_model_name_or_path"}, f"is a config of SimpleTuner, {_NOT_READ}"),
    ({"nodes", "last_node_id"}, f"is a workflow of ComfyUI, {_NOT_READ}"),
    ({"weight_map"}, f"is the index of a model in several files, {_NOT_READ}"),
)
"""JSON of other programs, by keys of which one is enough."""


def refuse_unread(file: Path) -> None:
    """Raise InputError for a file of a kind that is not read, saying what it is."""
    what = UNREAD.get(file.suffix.lower())
    if what:
        raise InputError(f"{file}: {what}. {_INSTEAD}.")


def refuse_fleet(file: Path, raw: Mapping[str, Any]) -> None:
    """Raise InputError for a fleet's file, which is TOML too."""
    if isinstance(raw.get("hosts"), dict) or isinstance(raw.get("fleet"), dict):
        raise InputError(f"{file}: is a fleet file, not a training config; check it with: sdfleet check --fleet {file}")


def why_not_gui(raw: Mapping[str, Any]) -> str:
    """What a JSON object without LoRA_type is."""
    for keys, what in OTHER_JSON:
        if keys & raw.keys():
            return what
    if "datasets" in raw:
        return "names a dataset; give the training file whose dataset_config it is"
    if "token_string" in raw:
        return "has no LoRA_type: it is of kohya_ss' Textual Inversion page, which trains embeddings"
    if "max_resolution" in raw or "train_batch_size" in raw:
        return "has no LoRA_type: it is of kohya_ss' Dreambooth or Finetuning page, which trains whole models"
    return "is no JSON of kohya_ss (it has no LoRA_type)"


def is_easy_scripts(raw: Mapping[str, Any]) -> bool:
    """Whether tables are those of LoRA_Easy_Training_Scripts, which contain `args` for sd-scripts."""
    return any(
        name.endswith("_args") and isinstance(table, dict) and isinstance(table.get("args"), dict)
        for name, table in raw.items()
    )


def read_easy_scripts(file: Path, raw: Mapping[str, Any]) -> tuple[dict[str, Entry], Table, list[Table]]:
    """Options, [general] and [[datasets]] from a TOML of LoRA_Easy_Training_Scripts.

    Its tables hold `args` for the command line and `dataset_args` for the dataset file; arguments of the optimiser and
    the network are tables inside `args`. Raises InputError.
    """
    entries: dict[str, Entry] = {}
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
                    entries[key] = Entry(value, f"{section}.args.{key}")
                else:
                    target[key] = value
    subsets = raw.get("subsets", [])
    if not isinstance(subsets, list) or not all(isinstance(subset, dict) for subset in subsets):
        raise InputError(f"{file}: subsets: must be tables [[subsets]]")
    return entries, general, [{"subsets": subsets}]
