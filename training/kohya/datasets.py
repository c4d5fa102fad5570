"""Folders of pictures: train_data_dir, or [general] / [[datasets]] / [[datasets.subsets]] of a dataset file.

A setting may be given at four levels; kohya takes the innermost: subset, dataset, general, then the training file.
"""

from typing import Any

from training.errors import quoted
from training.kohya import keys, values
from training.kohya.conversion import Conversion, Entry
from training.kohya.honoured import EQUIVALENTS
from training.kohya.unhonoured import REASONS
from training.spelling import did_you_mean

Table = dict[str, Any]
Level = dict[str, Entry]
"""The keys that apply to a subset, each with the name of the table that gives it."""

SUBSET_KEYS = {
    "image_dir": "folder",
    "num_repeats": "repeats",
    "class_tokens": "class_tokens",
    "is_reg": "regularisation",
}
FOR_ALL = {"batch_size": "train_batch_size"} | {
    key: key
    for key, ours in EQUIVALENTS.items()
    if ours.path.startswith(("data.buckets", "validation.")) or key == "alpha_mask"
}
"""Keys of a dataset that our config has only once for all datasets."""

PER_SUBSET = tuple(
    key for key, ours in EQUIVALENTS.items() if ours.path.startswith(("data.captions.", "data.augment."))
)
KNOWN = {*SUBSET_KEYS, *FOR_ALL, *PER_SUBSET, "resolution", *REASONS}


def datasets(conversion: Conversion, general: Table, tables: list[Table]) -> None:
    """Convert the folders and sizes. `general` and `tables` are empty if the file only names train_data_dir."""
    if conversion.remains("resolution") and not values.is_off(conversion.get("resolution")):
        size = conversion.entries["resolution"]
        conversion.honour("resolution", "data.resolution", conversion.sides(size.name, size.value))
    if not tables:
        for key, path in (("train_data_dir", "data.folder"), ("reg_data_dir", "data.regularisation")):
            if conversion.remains(key):
                conversion.honour(key, path, conversion.get(key) or None)
        return
    for key in ("train_data_dir", "reg_data_dir"):
        if conversion.remains(key):
            conversion.drop(key, "the datasets come first, as in kohya")
    levels = _levels(conversion, general, tables)
    if conversion.remains("dataset_repeats"):
        repeats = conversion.converted("dataset_repeats", values.whole)
        entry = Entry(repeats, conversion.entries["dataset_repeats"].name)
        levels = [{"num_repeats": entry} | level for level in levels]
        conversion.take("dataset_repeats")
        conversion.honour_elsewhere(entry, "data.subsets.repeats")
    conversion.set("data.subsets", [_subset(conversion, number, level) for number, level in enumerate(levels)])
    _for_all(conversion, levels)


def _levels(conversion: Conversion, general: Table, tables: list[Table]) -> list[Level]:
    """The keys that apply to each subset; each key is reported where it is given."""
    _report(conversion, "general", general)
    found: list[Level] = []
    for index, dataset in enumerate(tables):
        label = f"datasets.{index}"
        own = dataset.get("subsets", [])
        if not isinstance(own, list) or not own or not all(isinstance(subset, dict) for subset in own):
            conversion.problem(f"{label}: needs tables [[datasets.subsets]]")
            continue
        outer = _without_subsets(dataset)
        _report(conversion, label, outer)
        for number, subset in enumerate(own):
            if not subset.get("image_dir"):
                conversion.problem(f"{label}.subsets.{number}: image_dir is required")
            _report(conversion, f"{label}.subsets.{number}", subset, f"data.subsets.{len(found)}")
            tables_in = (("general", general), (label, outer), (f"{label}.subsets.{number}", subset))
            found.append({key: Entry(value, f"{at}.{key}") for at, table in tables_in for key, value in table.items()})
    return found


def _report(conversion: Conversion, label: str, table: Table, at: str = "data.subsets") -> None:
    """Report every key of one level: it goes to the subset `at`, or to all subsets that it applies to."""
    for key, value in table.items():
        name = f"{label}.{key}"
        if key in REASONS:
            conversion.drop_entry(Entry(value, name), REASONS[key])
        elif key not in KNOWN and key in keys.KNOWN:
            conversion.problem(f"{name}: is a key of the training file; sd-scripts refuses it here")
        elif key not in KNOWN:
            conversion.problem(f"{name}: unknown key{did_you_mean(key, KNOWN)}")
        elif key in FOR_ALL:
            conversion.honour_elsewhere(Entry(value, name), EQUIVALENTS[FOR_ALL[key]].path)
        else:
            path = f"{at}.{SUBSET_KEYS.get(key) or EQUIVALENTS[key].path.removeprefix('data.')}"
            conversion.honour_elsewhere(Entry(value, name), path)


def _subset(conversion: Conversion, number: int, level: Level) -> Table:
    """Our subset from the keys that apply to it."""
    found: Table = {}
    for key, entry in level.items():
        path = SUBSET_KEYS.get(key) or (EQUIVALENTS[key].path.removeprefix("data.") if key in EQUIVALENTS else key)
        conversion.origins[f"data.subsets.{number}.{path}"] = entry.name
        if key == "image_dir":
            found["folder"] = conversion.absolute("image_dir", entry.value)
        elif key in SUBSET_KEYS:
            found[SUBSET_KEYS[key]] = entry.value
        elif key == "resolution":
            found["resolution"] = conversion.sides(entry.name, entry.value)
        elif key in PER_SUBSET:
            try:
                table, name = path.split(".")
                found.setdefault(table, {})[name] = conversion.converted_entry(entry, EQUIVALENTS[key].convert)
            except ValueError as error:
                conversion.problem(str(error))
    return found


def _for_all(conversion: Conversion, levels: list[Level]) -> None:
    """Settings that our config has only once: all subsets must agree."""
    for key, main in FOR_ALL.items():
        found = [level[key].value if key in level else None for level in levels]
        if all(value is None for value in found):
            continue
        if any(value != found[0] for value in found):
            conversion.problem(f"datasets: {key} must be the same for all here")
            continue
        if conversion.remains(main):
            conversion.drop(main, "the datasets say it themselves, as in kohya")
        try:
            conversion.set(EQUIVALENTS[main].path, EQUIVALENTS[main].convert(found[0]))
        except ValueError as error:
            conversion.problem(f"datasets: {key}: {error} (is {quoted(found[0])})")


def _without_subsets(table: Table) -> Table:
    return {key: value for key, value in table.items() if key != "subsets"}
