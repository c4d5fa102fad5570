"""A fleet of one host."""

from pathlib import Path

import pytest

from inventory.load import load
from inventory.model import Fleet, HostSettings

FLEET = """
[fleet]
name = "studio"
mirrors = "china"
[hosts.gpu-1]
address = "203.0.113.10"
"""


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    file = tmp_path / "fleet.toml"
    file.write_text(FLEET)
    return load(file)


@pytest.fixture
def host(fleet: Fleet) -> HostSettings:
    return fleet.hosts["gpu-1"]
