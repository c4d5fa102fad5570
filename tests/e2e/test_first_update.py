"""Updates of one host: what its WebUI wrote at its very first start is no reason to refuse the next release, what a
picture takes more than before is one."""

import re
from collections.abc import Iterator

import pytest

from tests.light import fleet
from tests.light.fleet import INVOCATION, ROOT, LightFleet

pytestmark = pytest.mark.lab

UNNAMED = "fatal: No names found, cannot describe anything."


def journal(light: LightFleet) -> list[str]:
    """What the WebUI wrote since its last start."""
    return light.on("h1", f"journalctl _SYSTEMD_INVOCATION_ID=$({INVOCATION}) --output=cat --no-pager").splitlines()


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LightFleet]:
    """One host with the light WebUI, after a first apply."""
    with fleet.running(tmp_path_factory.mktemp("updates"), 1) as running:
        yield running


def test_a_complaint_that_was_glued_to_another_line_at_the_first_start_is_no_news(light: LightFleet) -> None:
    light.on("h1", f"rm {ROOT}/data/webui/cache/hashed && systemctl restart sdfleet-webui")
    glued = [line for line in journal(light) if line.startswith("Calculating sha256 for ")]
    assert [line.endswith(f": {UNNAMED}") for line in glued] == [True], journal(light)
    assert UNNAMED not in journal(light)
    old = light.release("h1")
    light.publish("good", 2)
    done = light.sdfleet("update", "webui")
    assert done.code == 0 and "Updated 1 host(s)" in done.text, done.text
    assert light.release("h1") != old
    assert UNNAMED in journal(light), "the new release writes it on a line of its own"


@pytest.fixture(scope="module")
def steady(light: LightFleet) -> LightFleet:
    """The host, with a release whose pictures take as long and as much memory as can be measured."""
    light.publish("steady", 3)
    done = light.sdfleet("update", "webui")
    assert done.code == 0, done.text
    return light


@pytest.mark.parametrize(
    ("fate", "words"), [("slow", "fleet.rollout.slower is 1.25"), ("fat", "fleet.rollout.memory is 1.1")]
)
def test_what_a_picture_takes_more_than_before_stops_at_the_canary(fate: str, words: str, steady: LightFleet) -> None:
    old = steady.release("h1")
    steady.publish(fate, 4)
    done = steady.sdfleet("update", "webui")
    assert done.code == 1 and "h1 gate cost: the picture takes " in done.text and words in done.text, done.text
    assert steady.release("h1") == old


def test_updates_that_cost_nothing_more_pass(steady: LightFleet) -> None:
    for number in range(10, 20):
        steady.publish("steady", number)
        done = steady.sdfleet("update", "webui")
        assert done.code == 0, done.text
    rows = [line for line in steady.sdfleet("releases").text.splitlines() if "in use" in line]
    assert len(rows) == 1 and re.search(r"0\.[89]\d s, 0\.\d\d GB", rows[0]), rows
