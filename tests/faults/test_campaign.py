"""A sample of the campaign; `python -m tests.faults --seeds 1-100` is the whole of it."""

from collections.abc import Iterator

import pytest

from tests.faults import campaign
from tests.faults.breaking import BREAKS
from tests.faults.walking import WALKS
from tests.light.fleet import LightFleet

SEEDS = (13, 16, 17, 23, 25, 26, 35, 37, 50, 52, 58, 61, 85, 91, 92)
"""The quickest of the campaign that break each a different thing."""

HOSTS = ["h1", "h2"]


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LightFleet]:
    """The campaign's two hosts."""
    with campaign.ready(tmp_path_factory.mktemp("faults")) as running:
        yield running


@pytest.mark.lab
@pytest.mark.parametrize("seed", SEEDS)
def test_the_road_survives(seed: int, light: LightFleet) -> None:
    tried = campaign.run(light, seed)
    assert not tried.problems, f"{tried}: {'; '.join(tried.problems)}"


def test_a_hundred_seeds_try_everything() -> None:
    cases = [campaign.case(seed, HOSTS, []) for seed in range(1, 101)]
    assert {case.broken for case in cases} == BREAKS.keys()
    assert {case.walk for case in cases} == WALKS.keys()
    assert [str(case) for case in cases] == [str(campaign.case(seed, HOSTS, [])) for seed in range(1, 101)]
