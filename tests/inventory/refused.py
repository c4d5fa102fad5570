"""What is said of a fleet.toml that is refused."""

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
