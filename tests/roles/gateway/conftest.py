"""A host with a gateway, for all tests of a file."""

from collections.abc import Iterator

import pytest

from tests.light.fleet import LightFleet
from tests.roles.gateway import asking
from tests.roles.gateway.asking import Asking


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LightFleet]:
    """One host with the light WebUI and a gateway."""
    with asking.running(tmp_path_factory.mktemp("gateway")) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(light: LightFleet) -> Asking:
    """Its gateway."""
    return Asking(light)
