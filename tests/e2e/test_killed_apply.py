"""Controllers that are killed in the middle of an apply: their last step ends first, and the next apply finishes."""

import os
import signal
import time
from collections.abc import Iterator

import pytest

from tests.light import fleet
from tests.light.fleet import LightFleet

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LightFleet]:
    """One host with the light WebUI, after a first apply."""
    with fleet.running(tmp_path_factory.mktemp("killed"), 1) as running:
        yield running


@pytest.mark.parametrize("seconds", [0.5, 1.0, 1.5, 2.0, 2.5, 3.0])
def test_the_next_apply_finishes_what_a_killed_one_began(seconds: float, light: LightFleet) -> None:
    file = light.change(f"killed{seconds}", webui={"extra_arguments": [f"--killed-after={seconds}"]})
    killed = light.start("apply", "--fleet", str(file))
    time.sleep(seconds)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    done = light.sdfleet("apply", "--fleet", str(file))
    assert done.code == 0, done.text
    assert light.on("h1", "systemctl is-active sdfleet-webui") == "active"
    assert light.sdfleet("drift", "--fleet", str(file)).code == 0
