"""Loads a config of any kind: ours, sd-scripts' TOML, lora-scripts' TOML, preset or train.sh, kohya_ss's JSON."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training import config
from training.errors import InputError, SettingsError
from training.kohya import foreign, gui, script
from training.kohya.conversion import Conversion, Entry
from training.kohya.keys import KNOWN
from training.kohya.report import Report
from training.kohya.translation import Translation, translate_keys
from training.textfile import read_json, read_text, read_toml

Table = dict[str, Any]

KOHYA_KEYS = {
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
"""One of these keys is enough to recognise a file of kohya's."""


def load_any(file: Path, base: Path | None = None) -> tuple[config.Config, Report | None]:
    """The config in `file`, of any kind; the report is None if it is ours.

    Relative paths of a kohya TOML start from `base` (default: the working directory, as in kohya), those of a train.sh
    from the script's folder. Raises InputError with all problems.
    """
    if is_ours(file):
        return config.load_config(file), None
    translation = translate(file, base)
    if translation.preset:
        raise InputError(f"{file}: is a preset, which changes some settings of others and names no model")
    return to_config(file, translation), translation.report


def to_config(file: Path, translation: Translation) -> config.Config:
    """The translated tables as our config; errors name the file's own keys, and the report gets our values.

    Raises InputError.
    """
    try:
        found = config.parse_config(translation.settings, file)
    except SettingsError as error:
        settings = [(_in_their_words(key, translation.origins), says) for key, says in error.settings]
        raise SettingsError(file, settings) from error
    translation.report.resolve(found)
    return found


def is_ours(file: Path) -> bool:
    """Whether a file is our own config, not a script or another program's file.

    Raises InputError if it is not a config.
    """
    foreign.refuse_unread(file)
    if _is_script(file) or file.suffix == ".json":
        return False
    raw = read_toml(file)
    foreign.refuse_fleet(file, raw)
    return not is_kohya(raw)


def is_kohya(raw: Table) -> bool:
    """Whether the tables of a TOML file are sd-scripts', lora-scripts' or similar, not ours."""
    keys = {key for table in raw.values() if isinstance(table, dict) for key in table} | raw.keys()
    return bool(keys & KOHYA_KEYS) or _is_preset(raw) or foreign.is_easy_scripts(raw)


def translate(file: Path, base: Path | None = None) -> Translation:
    """Translate another program's file. Raises InputError with all problems found by the translation itself."""
    foreign.refuse_unread(file)
    if _is_script(file):
        return _from_script(file)
    base = (base or Path.cwd()).resolve()
    if file.suffix == ".json":
        raw = read_json(file)
        if not gui.is_gui(raw):
            raise InputError(f"{file}: {foreign.why_not_gui(raw)}")
        entries, report = gui.read_gui(file, raw, KNOWN)
        conversion = Conversion(file, base, entries, preset=not raw.get("pretrained_model_name_or_path"))
        conversion.report = report
        return translate_keys(conversion, *_datasets(conversion, {}, []))
    raw = read_toml(file)
    if foreign.is_easy_scripts(raw):
        entries, general, tables = foreign.read_easy_scripts(file, raw)
        return translate_keys(Conversion(file, base, entries), general, tables)
    preset = _is_preset(raw)
    outer = raw.pop("general", {}), raw.pop("datasets", [])
    entries, notes = _flatten(file, raw, preset)
    conversion = Conversion(file, base, entries, preset=preset)
    conversion.report.notes.extend(notes)
    return translate_keys(conversion, *_datasets(conversion, *_tables(file, *outer)))


def _from_script(file: Path) -> Translation:
    """Translate a train.sh; options of its command line override the TOML of its --config_file."""
    found = script.read_script(file, read_text(file), KNOWN)
    entries, report, folder = found.entries, found.report, found.folder
    config_file = entries.get("config_file")
    general: Table = {}
    tables: list[Table] = []
    if config_file and config_file.value:
        name = str(config_file.value)
        other = folder / (name if name.endswith(".toml") else f"{name}.toml")
        try:
            raw = read_toml(other)
        except InputError as error:
            raise InputError([f"{file}: --config_file: {problem}" for problem in error.problems]) from error
        general, tables = _tables(other, raw.pop("general", {}), raw.pop("datasets", []))
        theirs, notes = _flatten(other, raw, preset=False)
        report.notes += [f"{other.name}: {note}" for note in notes]
        report.notes += [
            f"{key}: the command line's {entries[key].value!r} counts, not {other.name}'s {theirs[key].value!r}"
            for key in theirs.keys() & entries.keys()
        ]
        entries = theirs | entries
    conversion = Conversion(file, folder, entries, program=found.program)
    conversion.report = report
    return translate_keys(conversion, *_datasets(conversion, general, tables))


def _datasets(conversion: Conversion, general: Table, tables: list[Table]) -> tuple[Table, list[Table]]:
    """[general] and [[datasets]] of the file, or of its dataset_config."""
    if not tables and conversion.get("dataset_config"):
        name = str(conversion.get("dataset_config"))
        # os.path: pathlib raises for invalid names, which are reported when the file is read.
        other = conversion.base / name if os.path.exists(conversion.base / name) else conversion.file.parent / name  # noqa: PTH110
        try:
            content = read_json(other) if other.suffix == ".json" else read_toml(other)
        except InputError as error:
            raise InputError([f"{conversion.file}: dataset_config: {problem}" for problem in error.problems]) from error
        general, tables = _tables(other, content.get("general", {}), content.get("datasets", []))
        if not tables:
            raise InputError(f"{conversion.file}: dataset_config: {other} holds no [[datasets]]")
    if conversion.remains("dataset_config"):
        conversion.honour("dataset_config", "data.subsets", None)
    return general, tables


def _flatten(file: Path, raw: Table, preset: bool) -> tuple[dict[str, Entry], list[str]]:
    """The keys of all sections, which only group keys, as in kohya; of a repeated key the last counts, with a note."""
    found: dict[str, Entry] = {}
    notes = []
    for section, content in raw.items():
        for key, value in content.items() if isinstance(content, dict) else [(section, content)]:
            if isinstance(value, dict):
                raise InputError(f"{file}: {section}.{key}: tables in tables are not kohya's format")
            name = f"{section}.{key}" if preset and section == "metadata" else key
            if name in found and found[name].value != value:
                notes.append(f"{key} is given twice; the last counts: {value!r}, not {found[name].value!r}")
            found[name] = Entry(value, name)
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


def _in_their_words(path: str, origins: Mapping[str, str]) -> str:
    """One of our settings, named by the key that set it, or the table that it stands in."""
    parts = [part for part in path.split(".") if not part.isdigit()]
    tables = (".".join(parts[:depth]) for depth in range(len(parts), 0, -1))
    key = next((origins[each] for each in (path, *tables) if each in origins), "")
    return f"{key} ({path})" if key else path
