"""Converts a kohya file to our TOML."""

from collections.abc import Callable
from pathlib import Path

from training.errors import InputError
from training.kohya.conversion import DEFAULT
from training.kohya.honoured import KOHYA_DEFAULTS
from training.kohya.load import is_ours, to_config, translate
from training.kohya.write import tables_to_toml, to_toml


def convert(file: Path, base: Path | None, tell: Callable[[str], None]) -> str:
    """Our TOML for a kohya or lora-scripts file; the report goes to `tell`.

    Raises InputError with all problems of the file, or if it is our own already.
    """
    if is_ours(file):
        raise InputError(f"{file}: is no kohya or lora-scripts config; if it is ours, it needs no conversion")
    found = translate(file, base)
    if found.preset:
        tell(str(found.report))
        tell("A preset changes some settings of another config; these are what it changes:")
        return tables_to_toml(found.settings)
    origins = {**dict.fromkeys(KOHYA_DEFAULTS, DEFAULT), **found.origins}
    config = to_config(file, found)
    tell(str(found.report))
    return to_toml(config, origins, f"Converted from {file.name}.")
