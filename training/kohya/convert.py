"""A kohya file as ours, for a person."""

from collections.abc import Callable
from pathlib import Path

from training.errors import InputError
from training.kohya.honoured import WITHOUT
from training.kohya.load import is_ours, parse, translate
from training.kohya.reading import DEFAULT
from training.kohya.write import tables_to_toml, to_toml


def convert(file: Path, base: Path | None, tell: Callable[[str], None]) -> str:
    """Our TOML for a kohya or lora-scripts file; the report goes to `tell`.

    Raises InputError with every problem of the file, also if it is ours already.
    """
    if is_ours(file):
        raise InputError(f"{file}: is no kohya or lora-scripts config; if it is ours, it needs no conversion")
    found = translate(file, base)
    if found.preset:
        tell(str(found.report))
        tell("A preset changes some settings of another config; these are what it changes:")
        return tables_to_toml(found.raw)
    origins = {**dict.fromkeys(WITHOUT, DEFAULT), **found.origins}
    config = parse(file, found)
    tell(str(found.report))
    return to_toml(config, origins, f"Converted from {file.name}.")
