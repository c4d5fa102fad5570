"""The users of lora-scripts, the cache and the gateway turn on their host, as in test_service_users.py."""

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import Road, one_host
from tests.roles.tricks import LOOK, OTHER_TRICKS, PREPARE, as_its_user

pytestmark = pytest.mark.lab
PASSWORD = "wide-open-door-41"
VERB_SECONDS = 90


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    """One host with all three."""
    groups = ("lora_scripts", "gateway", "cache")
    with one_host(tmp_path_factory.mktemp("turned"), *groups, logins=f"ann:{PASSWORD}") as road:
        road.on("h1", PREPARE)
        yield road


def test_nothing_outside_changes_nothing_hangs_nothing_runs(place: Road) -> None:
    before = place.on("h1", LOOK)
    for trick in OTHER_TRICKS:
        place.on("h1", as_its_user(trick))
    try:
        for verb in ("plan", "apply", "verify", "status", "restart gateway", "apply", "doctor"):
            done = place.sdfleet(*verb.split())
            print(f"  {verb}: {done.code} in {done.seconds:.1f} s\n{done.text[-1500:]}")
            assert done.seconds < VERB_SECONDS and "Traceback" not in done.text, done.text
            assert "root:" not in done.text, "what root alone may read was shown"
            assert place.on("h1", LOOK) == before, f"{verb} changed what is outside, or ran what was planted"
    finally:
        for trick in OTHER_TRICKS:
            place.on("h1", trick.undo)
    for _ in range(2):
        done = place.sdfleet("apply")
        assert done.code == 0, done.text
    assert done.cell("h1", "changed") == "0", done.text
    assert place.sdfleet("verify").code == 0
