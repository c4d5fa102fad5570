"""supervisord in a folder."""

from collections.abc import Iterator

import pytest

from tests.roles.base.machine import Machine


@pytest.fixture
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """One that runs."""
    made = Machine(tmp_path_factory.mktemp("m"))
    made.boot()
    yield made
    made.shut_down()
