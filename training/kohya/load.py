"""From a file to our config: ours, sd-scripts' TOML, lora-scripts' TOML, preset or train.sh, kohya_ss' JSON."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training import config
from training.errors import InputError
from training.kohya import foreign, gui, script, steps
from training.kohya.datasets import datasets
from training.kohya.honoured import PLACES
from training.kohya.network import WINDOW, network
from training.kohya.reading import Given, Reading
from training.kohya.report import Report
from training.kohya.unhonoured import REASONS
from training.spelling import did_you_mean
from training.textfile import read_json, read_text, read_toml

Table = dict[str, Any]

TELLING = {
    "pretrained_model_name_or_path",
    "train_data_dir",
    "network_module",
    "network_dim",
    "output_name",
    "dataset_config",
    "max_train_epochs",
    "train_batch_size",
    "datasets",
}
"""Keys of which one is enough to know a file as kohya's."""

STEP_KEYS = {
    "v2",
    "model_type",
    "model_train_type",
    "mem_eff_attn",
    "xformers",
    "sdpa",
    "full_fp16",
    "full_bf16",
    "max_train_steps",
    "save_last_n_steps",
    "use_8bit_adam",
    "use_lion_optimizer",
    "optimizer_args",
    "optimizer_args_custom",
    "prodigy_d0",
    "prodigy_d_coef",
    "enable_preview",
    "prompt_file",
    "sample_prompts",
    "sample_every_n_epochs",
    "sample_every_n_steps",
    "sample_at_first",
    "positive_prompts",
    "negative_prompts",
    "sample_width",
    "sample_height",
    "sample_cfg",
    "sample_steps",
    "sample_seed",
    "logging_dir",
    "log_with",
    "network_module",
    "network_args",
    "network_args_custom",
    "train_data_dir",
    "reg_data_dir",
    "dataset_config",
    "tokenizer_cache_dir",
}
KNOWN = {*PLACES, *REASONS, *STEP_KEYS, *WINDOW}
"""Every key that can be read."""


@dataclass(frozen=True)
class Translation:
    """Our tables made from a kohya file."""

    raw: Table
    report: Report
    origins: Mapping[str, str]
    """By which key of the file each of our settings was set."""
    preset: bool = False
    """Whether the file only changes some settings and cannot train alone."""


def load_any(file: Path, base: Path | None = None) -> tuple[config.Config, Report | None]:
    """The config in `file`, whatever it was written for; the report is None if it is ours.

    Relative paths of a kohya TOML count from `base` (default: the working directory, as in kohya), those of a
    train.sh from the script's folder. Raises InputError with every problem.
    """
    if is_ours(file):
        return config.load(file), None
    translation = translate(file, base)
    if translation.preset:
        raise InputError(f"{file}: is a preset, which changes some settings of others and names no model")
    return parse(file, translation), translation.report


def parse(file: Path, translation: Translation) -> config.Config:
    """The translated tables as our config; errors name the file's own keys, the report says what became of them.

    Raises InputError.
    """
    try:
        found = config.parse(translation.raw, file)
    except InputError as error:
        raise InputError([_in_their_words(str(file), line, translation.origins) for line in error.problems]) from error
    translation.report.resolve(found)
    return found


def is_ours(file: Path) -> bool:
    """Whether a file is neither a script nor another program's, and so is read as ours.

    Raises InputError if it is no config at all.
    """
    foreign.refuse_unread(file)
    return not (_is_script(file) or file.suffix == ".json") and not is_kohya(read_toml(file))


def is_kohya(raw: Table) -> bool:
    """Whether tables read from a TOML file are sd-scripts', lora-scripts' or their like, not ours."""
    keys = {key for table in raw.values() if isinstance(table, dict) for key in table} | raw.keys()
    return bool(keys & TELLING) or _is_preset(raw) or foreign.is_easy_scripts(raw)


def translate(file: Path, base: Path | None = None) -> Translation:
    """Our tables from another program's file, and what became of every key.

    Raises InputError with every problem that the translation itself finds.
    """
    foreign.refuse_unread(file)
    if _is_script(file):
        return _from_script(file)
    base = (base or Path.cwd()).resolve()
    if file.suffix == ".json":
        raw = read_json(file)
        if not gui.is_gui(raw):
            raise InputError(f"{file}: {gui.no_gui(raw)}")
        given, report = gui.read(file, raw, KNOWN)
        reading = Reading(file, base, given, preset=not raw.get("pretrained_model_name_or_path"))
        reading.report = report
        return _translate(reading, *_datasets(reading, {}, []))
    raw = read_toml(file)
    if foreign.is_easy_scripts(raw):
        given, general, tables = foreign.read_easy_scripts(file, raw)
        return _translate(Reading(file, base, given), general, tables)
    preset = _is_preset(raw)
    outer = raw.pop("general", {}), raw.pop("datasets", [])
    given, notes = _flatten(file, raw, preset)
    reading = Reading(file, base, given, preset=preset)
    reading.report.notes.extend(notes)
    return _translate(reading, *_datasets(reading, *_tables(file, *outer)))


def _from_script(file: Path) -> Translation:
    """What a train.sh passes; the TOML that it may name by --config_file counts where the command line is silent."""
    given, report, folder = script.read(file, read_text(file), KNOWN)
    config_file = given.get("config_file")
    general: Table = {}
    tables: list[Table] = []
    if config_file and config_file.value:
        name = str(config_file.value)
        other = folder / (name if name.endswith(".toml") else f"{name}.toml")
        raw = read_toml(other)
        general, tables = _tables(other, raw.pop("general", {}), raw.pop("datasets", []))
        theirs, notes = _flatten(other, raw, preset=False)
        report.notes += [f"{other.name}: {note}" for note in notes]
        report.notes += [
            f"{key}: the command line's {given[key].value!r} counts, not {other.name}'s {theirs[key].value!r}"
            for key in theirs.keys() & given.keys()
        ]
        given = theirs | given
    reading = Reading(file, folder, given)
    reading.report = report
    return _translate(reading, *_datasets(reading, general, tables))


def _datasets(reading: Reading, general: Table, tables: list[Table]) -> tuple[Table, list[Table]]:
    """[general] and [[datasets]], where the file has none those of the dataset_config that it names."""
    if not tables and reading.get("dataset_config"):
        name = str(reading.get("dataset_config"))
        # os.path, as a name that no file can have is answered too, and told when it is read.
        other = reading.base / name if os.path.exists(reading.base / name) else reading.file.parent / name  # noqa: PTH110
        content = read_json(other) if other.suffix == ".json" else read_toml(other)
        general, tables = _tables(other, content.get("general", {}), content.get("datasets", []))
        if not tables:
            raise InputError(f"{reading.file}: dataset_config: {other} holds no [[datasets]]")
    if reading.has("dataset_config"):
        reading.honour("dataset_config", "data.subsets", None)
    return general, tables


def _translate(reading: Reading, general: Table, tables: list[Table]) -> Translation:
    for step in (
        steps.unused,
        steps.rates,
        steps.base_model,
        steps.arithmetic,
        steps.length,
        steps.optimizer,
        steps.samples,
        steps.logs,
        network,
    ):
        try:
            step(reading)
        except ValueError as error:
            reading.problems.append(f"{reading.file}: {error}")
    datasets(reading, general, tables)
    stopped = bool(reading.problems)
    for key in reading.rest():
        # A step that met a problem leaves its other keys behind; only then is a known key no mistake.
        if key not in KNOWN or not stopped:
            name = reading.given[key].name
            reading.problems.append(f"{reading.file}: {name}: unknown key{did_you_mean(key, KNOWN)}")
    if not reading.preset:
        _required(reading, general, tables)
    if reading.problems:
        raise InputError(reading.problems)
    return Translation(reading.raw, reading.report, reading.origins, reading.preset)


def _required(reading: Reading, general: Table, tables: list[Table]) -> None:
    if not reading.get("pretrained_model_name_or_path"):
        reading.problems.append(
            f"{reading.file}: pretrained_model_name_or_path: is required: the base model"
            + ("; a dataset file is named by dataset_config in a training file" if tables else "")
        )
    if not tables and not reading.get("train_data_dir"):
        reading.problems.append(f"{reading.file}: train_data_dir: is required: the folder that holds folders N_name")
    levels = ({**general, **dataset, **subset} for dataset in tables for subset in dataset.get("subsets", []))
    if not reading.get("resolution") and not (tables and all("resolution" in level for level in levels)):
        reading.problems.append(f'{reading.file}: resolution: is required, like "512,512"')


def _flatten(file: Path, raw: Table, preset: bool) -> tuple[dict[str, Given], list[str]]:
    """Sections are only grouping, as in kohya; of a key given twice the last counts, and a note says so."""
    found: dict[str, Given] = {}
    notes = []
    for section, content in raw.items():
        for key, value in content.items() if isinstance(content, dict) else [(section, content)]:
            if isinstance(value, dict):
                raise InputError(f"{file}: {section}.{key}: tables in tables are not kohya's format")
            name = f"{section}.{key}" if preset and section == "metadata" else key
            if name in found and found[name].value != value:
                notes.append(f"{key} is given twice; the last counts: {value!r}, not {found[name].value!r}")
            found[name] = Given(value, name)
    return found, notes


def _tables(file: Path, general: Any, tables: Any) -> tuple[Table, list[Table]]:
    if not isinstance(general, dict):
        raise InputError(f"{file}: general: must be a table [general]")
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise InputError(f"{file}: datasets: must be tables [[datasets]]")
    return general, tables


def _is_preset(raw: Table) -> bool:
    return isinstance(raw.get("metadata"), dict) and isinstance(raw.get("data"), dict)


def _is_script(file: Path) -> bool:
    return file.suffix == ".sh" or read_text(file).startswith("#!")


def _in_their_words(file: str, line: str, origins: Mapping[str, str]) -> str:
    """A problem with one of our settings, named by the key that set it."""
    path, colon, rest = line.removeprefix(f"{file}: ").partition(": ")
    parts = path.split(".")
    plain = ".".join(part for part in parts if not part.isdigit())
    if colon and path in origins:
        return f"{file}: {origins[path]} ({path}): {rest}"
    for depth in range(len(plain.split(".")), 0, -1):
        key = origins.get(".".join(plain.split(".")[:depth]))
        if colon and key:
            return f"{file}: {key} ({path}): {rest}"
    return line
