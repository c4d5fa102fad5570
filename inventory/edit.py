"""Edit fleet.toml and keep everything else in it as it is written."""

from pathlib import Path

import tomlkit
from tomlkit.items import AoT

from inventory.errors import ConfigError, Problem
from inventory.files import held, replace_file
from inventory.load import load
from inventory.pasted import unfold
from roles.models.config import Model


def append_model(file: Path, model: Model) -> None:
    """Add a [[models]] entry. Raises ConfigError and changes nothing if the file would be invalid."""
    with held(file):
        document = tomlkit.parse(file.read_text(encoding="utf-8"))
        models = document.setdefault("models", tomlkit.aot())
        if not isinstance(models, AoT):
            raise ConfigError(
                str(file), [Problem("models", "is not a list of [[models]] tables; write it as one first")]
            )
        models.append(tomlkit.item(model.model_dump(exclude_defaults=True, mode="json")))
        _save(file, document)


def move_host(file: Path, name: str, address: str) -> None:
    """Write a host's new address, as its provider shows it, in place of the old one with its port.

    + name: a host of the file
    Raises ConfigError and changes nothing if the file would be invalid.
    """
    with held(file):
        document = tomlkit.parse(file.read_text(encoding="utf-8"))
        try:
            told = unfold({"address": address})
        except ValueError as error:
            raise ConfigError(str(file), [Problem(f"hosts.{name}", str(error))]) from error
        table = document["hosts"][name]
        for key in {"port", *told} - {"address"}:
            table.pop(key, None)
        table["address"] = address
        _save(file, document)


def _save(file: Path, document: tomlkit.TOMLDocument) -> None:
    text, tried = tomlkit.dumps(document), file.with_name(f".{file.name}.tried")
    replace_file(tried, text)
    try:
        load(tried)
    except ConfigError as error:
        raise ConfigError(str(file), error.problems) from error
    finally:
        tried.unlink(missing_ok=True)
    replace_file(file, text)
