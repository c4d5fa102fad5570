"""Folders of pictures: train_data_dir, or [general] / [[datasets]] / [[datasets.subsets]] of a dataset file.

A setting may stand at four levels; kohya takes it from the innermost that has it: subset, dataset, general, and last
the training file.
"""

from typing import Any

from training.kohya import values
from training.kohya.honoured import PLACES
from training.kohya.reading import Given, Reading
from training.kohya.unhonoured import REASONS
from training.spelling import did_you_mean

Table = dict[str, Any]
Level = dict[str, Given]
"""The keys that reach one subset, each under the name of the table where it stands."""

SUBSET_KEYS = {
    "image_dir": "folder",
    "num_repeats": "repeats",
    "class_tokens": "class_tokens",
    "is_reg": "regularisation",
}
FOR_ALL = {"batch_size": "train_batch_size"} | {
    key: key
    for key, place in PLACES.items()
    if place.path.startswith(("data.buckets", "validation.")) or key == "alpha_mask"
}
"""Keys of one dataset that our config holds once for all."""

PER_SUBSET = tuple(key for key, place in PLACES.items() if place.path.startswith(("data.captions.", "data.augment.")))
KNOWN = {*SUBSET_KEYS, *FOR_ALL, *PER_SUBSET, "resolution", *REASONS}


def datasets(reading: Reading, general: Table, tables: list[Table]) -> None:
    """Take the folders and sizes. `general` and `tables` are empty if the file only names train_data_dir."""
    if reading.has("resolution") and not values.is_off(reading.get("resolution")):
        given = reading.given["resolution"]
        reading.honour("resolution", "data.resolution", reading.sides(given.name, given.value))
    if not tables:
        for key, path in (("train_data_dir", "data.folder"), ("reg_data_dir", "data.regularisation")):
            if reading.has(key):
                reading.honour(key, path, reading.get(key) or None)
        return
    for key in ("train_data_dir", "reg_data_dir"):
        if reading.has(key):
            reading.drop(key, "the datasets come first, as in kohya")
    levels = _levels(reading, general, tables)
    if reading.has("dataset_repeats"):
        repeats = reading.value("dataset_repeats", values.whole)
        name = reading.given["dataset_repeats"].name
        levels = [{"num_repeats": Given(repeats, name)} | level for level in levels]
        reading.take("dataset_repeats")
        reading.mention(name, repeats, "data.subsets.repeats")
    reading.set("data.subsets", [_subset(reading, number, level) for number, level in enumerate(levels)])
    _for_all(reading, levels)


def _levels(reading: Reading, general: Table, tables: list[Table]) -> list[Level]:
    """For every subset the keys that reach it; each key is reported where it stands."""
    _report(reading, "general", general)
    found: list[Level] = []
    for index, dataset in enumerate(tables):
        label = f"datasets.{index}"
        own = dataset.get("subsets", [])
        if not isinstance(own, list) or not own or not all(isinstance(subset, dict) for subset in own):
            reading.problems.append(f"{reading.file}: {label}: needs tables [[datasets.subsets]]")
            continue
        outer = _without_subsets(dataset)
        _report(reading, label, outer)
        for number, subset in enumerate(own):
            if not subset.get("image_dir"):
                reading.problems.append(f"{reading.file}: {label}.subsets.{number}: image_dir is required")
            _report(reading, f"{label}.subsets.{number}", subset, f"data.subsets.{len(found)}")
            tables_in = (("general", general), (label, outer), (f"{label}.subsets.{number}", subset))
            found.append({key: Given(value, f"{at}.{key}") for at, table in tables_in for key, value in table.items()})
    return found


def _report(reading: Reading, label: str, table: Table, at: str = "data.subsets") -> None:
    """Say of every key of one level where it goes: to the subset `at`, or to all that it reaches."""
    for key, value in table.items():
        name = f"{label}.{key}"
        if key in REASONS:
            reading.lose(name, value, REASONS[key])
        elif key not in KNOWN:
            reading.problems.append(f"{reading.file}: {name}: unknown key{did_you_mean(key, KNOWN)}")
        elif key in FOR_ALL:
            reading.mention(name, value, PLACES[FOR_ALL[key]].path)
        else:
            path = f"{at}.{SUBSET_KEYS.get(key) or PLACES[key].path.removeprefix('data.')}"
            reading.mention(name, value, path)


def _subset(reading: Reading, number: int, level: Level) -> Table:
    """One of our subsets from the keys that reach it."""
    found: Table = {}
    for key, given in level.items():
        value = given.value
        path = SUBSET_KEYS.get(key) or (PLACES[key].path.removeprefix("data.") if key in PLACES else key)
        reading.origins[f"data.subsets.{number}.{path}"] = given.name
        if key == "image_dir":
            found["folder"] = reading.absolute("image_dir", value)
        elif key in SUBSET_KEYS:
            found[SUBSET_KEYS[key]] = value
        elif key == "resolution":
            found["resolution"] = reading.sides(given.name, value)
        elif key in PER_SUBSET:
            try:
                table, name = path.split(".")
                found.setdefault(table, {})[name] = PLACES[key].convert(value)
            except ValueError as error:
                reading.problems.append(f"{reading.file}: {given.name}: {error} (is {value!r})")
    return found


def _for_all(reading: Reading, levels: list[Level]) -> None:
    """Settings that our config holds once: every subset must agree on them."""
    for key, main in FOR_ALL.items():
        found = [level[key].value if key in level else None for level in levels]
        if all(value is None for value in found):
            continue
        if any(value != found[0] for value in found):
            reading.problems.append(f"{reading.file}: datasets: {key} must be the same for all here")
            continue
        if reading.has(main):
            reading.drop(main, "the datasets say it themselves, as in kohya")
        try:
            reading.set(PLACES[main].path, PLACES[main].convert(found[0]))
        except ValueError as error:
            reading.problems.append(f"{reading.file}: datasets: {key}: {error} (is {found[0]!r})")


def _without_subsets(table: Table) -> Table:
    return {key: value for key, value in table.items() if key != "subsets"}
