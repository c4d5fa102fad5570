"""The commented fleet.toml that `sdfleet init` writes."""

from pathlib import Path

from inventory.errors import ConfigError, Problem

EXAMPLE = Path(__file__).resolve().parent / "examples" / "fleet.toml"


def write(file: Path) -> None:
    """Write the example to `file`. Raises ConfigError if the file exists already."""
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(EXAMPLE.read_text(encoding="utf-8"))
    except FileExistsError as error:
        raise ConfigError(str(file), [Problem("", "exists already; choose another name or delete it")]) from error
    except OSError as error:
        raise ConfigError(str(file), [Problem("", f"cannot be written: {error.strerror}")]) from error
