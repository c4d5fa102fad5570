"""The wheel that all tests of a session install."""

from pathlib import Path

import pytest

from tests.install.environments import build_wheel


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the checkout as it stands."""
    return build_wheel(tmp_path_factory.mktemp("wheel"))
