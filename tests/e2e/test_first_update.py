"""Updates of one host and one container: what a WebUI wrote at its very first start is no reason to refuse the next
release, what a picture costs more than before is one, below both service managers."""

from collections.abc import Iterator

import pytest
import tomlkit

from lab.state import Rented
from tests.light import fleet
from tests.light.fleet import INVOCATION, LightFleet

pytestmark = pytest.mark.lab

UNNAMED = "fatal: No names found, cannot describe anything."
HOST, CONTAINER = "h1", "c1"


def journal(light: LightFleet) -> list[str]:
    """What the WebUI wrote since its last start."""
    return light.on(HOST, f"journalctl _SYSTEMD_INVOCATION_ID=$({INVOCATION}) --output=cat --no-pager").splitlines()


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LightFleet]:
    """A host and a container with the light WebUI, after a first apply."""
    with fleet.running(tmp_path_factory.mktemp("updates"), 1, (Rented(provider="vast"),)) as running:
        yield running


def test_a_complaint_that_was_glued_to_another_line_at_the_first_start_is_no_news(light: LightFleet) -> None:
    light.on(HOST, f"rm {light.root}/data/webui/cache/hashed && systemctl restart sdfleet-webui")
    glued = [line for line in journal(light) if line.startswith("Calculating sha256 for ")]
    assert [line.endswith(f": {UNNAMED}") for line in glued] == [True], journal(light)
    assert UNNAMED not in journal(light)
    old = light.release(HOST)
    light.publish("good", 2)
    done = light.sdfleet("update", "webui", "--limit", HOST)
    assert done.code == 0 and "Updated 1 host(s)" in done.text, done.text
    assert light.release(HOST) != old
    assert UNNAMED in journal(light), "the new release writes it on a line of its own"
    assert (done := light.sdfleet("rollback", HOST)).code == 0, done.text


@pytest.fixture(scope="module")
def steady(light: LightFleet) -> LightFleet:
    """Both, with a release whose pictures take as long and as much memory as can be measured."""
    whole = light.file.read_text()
    document = tomlkit.parse(whole)
    document["fleet"]["rollout"].update({"slower": 1000, "memory": 1000})
    light.file.write_text(tomlkit.dumps(document))
    light.publish("steady", 3)
    done = light.sdfleet("update", "webui")
    assert done.code == 0, done.text
    light.file.write_text(whole)
    return light


@pytest.mark.parametrize(
    ("fate", "words"),
    [("slow", "fleet.rollout.slower is 1.25"), ("fat", "of main memory at its peak, with the old release 0.")],
)
@pytest.mark.parametrize("host", [HOST, CONTAINER])
def test_what_a_picture_costs_more_than_before_stops_at_the_canary(
    fate: str, words: str, host: str, steady: LightFleet
) -> None:
    old = steady.release(host)
    steady.publish(fate, 4)
    done = steady.sdfleet("update", "webui", "--limit", host)
    print(done.text)
    assert done.code == 1 and f"{host} gate cost: the picture takes " in done.text and words in done.text, done.text
    assert "with the old release of webui again" in done.text, done.text
    assert steady.release(host) == old


def test_updates_that_cost_nothing_more_pass(steady: LightFleet) -> None:
    for number in range(10, 14):  # ten of ten: docs/updates.md
        steady.publish("steady", number)
        done = steady.sdfleet("update", "webui", "--limit", (HOST, CONTAINER)[number % 2])
        assert done.code == 0, done.text
    table = steady.sdfleet("releases").text
    print(table)
    rows = [line for line in table.splitlines() if "in use" in line]
    assert [" s, 0." in row and " GB" in row for row in rows] == [True, True], rows
