"""Translates the keys of a kohya file to our tables, one group of keys after the other."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from training.errors import InputError
from training.kohya import optimizer, output, steps
from training.kohya.conversion import Conversion
from training.kohya.datasets import FOR_ALL, datasets
from training.kohya.datasets import KNOWN as DATASET_KEYS
from training.kohya.keys import KNOWN
from training.kohya.network import network
from training.kohya.report import Report
from training.spelling import did_you_mean

Table = dict[str, Any]


@dataclass(frozen=True)
class Translation:
    """Our settings, converted from a kohya file."""

    settings: Table
    report: Report
    origins: Mapping[str, str]
    """The key of the file that set each of our settings."""
    preset: bool = False
    """Whether the file only changes some settings and names no model."""


def translate_keys(conversion: Conversion, general: Table, tables: list[Table]) -> Translation:
    steps_in_order: tuple[Callable[[Conversion], None], ...] = (
        steps.unused,
        optimizer.rates,
        steps.base_model,
        steps.arithmetic,
        steps.length,
        optimizer.optimizer_arguments,
        output.samples,
        output.logs,
        network,
        lambda found: datasets(found, general, tables),
    )
    for step in steps_in_order:
        try:
            step(conversion)
        except ValueError as error:
            conversion.problem(str(error))
    stopped = bool(conversion.problems)
    for key in conversion.take_remaining():
        # A step that failed leaves its other keys behind; only otherwise is a remaining known key a mistake.
        if key not in KNOWN or not stopped:
            name = conversion.entries[key].name
            conversion.problem(f"{name}: {_what_it_is(key)}")
    if not conversion.preset:
        _required(conversion, general, tables)
    if conversion.problems:
        raise InputError(conversion.problems)
    return Translation(conversion.settings, conversion.report, conversion.origins, conversion.preset)


def _what_it_is(key: str) -> str:
    if key in DATASET_KEYS:
        here = f"; in a training file it is {FOR_ALL[key]}" if key in FOR_ALL else ""
        return f"is a key of [general], [[datasets]] or their subsets{here}"
    return f"unknown key{did_you_mean(key, KNOWN)}"


def _required(conversion: Conversion, general: Table, tables: list[Table]) -> None:
    if not conversion.get("pretrained_model_name_or_path"):
        conversion.problem(
            "pretrained_model_name_or_path: is required: the base model"
            + ("; a dataset file is named by dataset_config in a training file" if tables else "")
        )
    if not tables and not conversion.get("train_data_dir"):
        conversion.problem("train_data_dir: is required: the folder that holds folders N_name")
    levels = ({**general, **dataset, **subset} for dataset in tables for subset in dataset.get("subsets", []))
    if not conversion.get("resolution") and not (tables and all("resolution" in level for level in levels)):
        conversion.problem('resolution: is required, like "512,512"')
