"""Small fleet files, and what is said of one that is refused."""

from pathlib import Path

import pytest

from inventory.errors import ConfigError
from inventory.load import load


def problems(folder: Path, text: str) -> str:
    """The message for a fleet.toml with this text, written to the folder."""
    file = folder / "fleet.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(file)
    return str(caught.value)


def host_with(line: str) -> str:
    """A fleet.toml of one host, with a further line of its table."""
    return f'[fleet]\nname = "a"\n[hosts.a]\naddress = "x"\n{line}'


def addressed(written: str) -> str:
    """A fleet.toml of one host, with this as its address."""
    return f'[fleet]\nname = "a"\n[hosts.a]\naddress = "{written}"'
