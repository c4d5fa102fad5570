"""A sample of the campaign; `python -m tests.faults --seeds 1-100` is the whole of it."""

from collections.abc import Iterator

import pytest

from lab.state import Rented
from tests.faults import breaking, breaking_containers, campaign
from tests.faults.walking import WALKS
from tests.light.fleet import LightFleet

SEEDS = (13, 16, 17, 23, 25, 26, 35, 37, 50, 52, 58, 61, 85, 91, 92)
"""The quickest of the campaign that break each a different thing."""

OF_CONTAINERS = range(15, 22)
"""The seeds that break what only containers have."""


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LightFleet]:
    """The campaign's two hosts."""
    with campaign.ready(tmp_path_factory.mktemp("faults")) as running:
        yield running


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LightFleet]:
    """A host, and a container that breaks."""
    with campaign.ready(tmp_path_factory.mktemp("mixed"), (Rented(provider="vast"),)) as running:
        yield running


@pytest.mark.lab
@pytest.mark.parametrize("seed", SEEDS)
def test_the_road_survives(seed: int, light: LightFleet) -> None:
    tried = campaign.run(light, seed)
    assert not tried.problems, f"{tried}: {'; '.join(tried.problems)}"


@pytest.mark.lab
@pytest.mark.parametrize("seed", OF_CONTAINERS)
def test_the_road_survives_what_breaks_in_containers(seed: int, mixed: LightFleet) -> None:
    tried = campaign.run(mixed, seed)
    assert not tried.problems, f"{tried}: {'; '.join(tried.problems)}"


@pytest.mark.parametrize(
    ("containers", "seeds", "breaks"),
    [([], range(1, 101), breaking.BREAKS), (["c1"], range(1, 31), breaking_containers.BREAKS)],
)
def test_the_seeds_try_everything(containers: list[str], seeds: range, breaks: dict[str, breaking.Break]) -> None:
    hosts = ["h1", *(containers or ["h2"])]
    cases = [campaign.case(seed, hosts, containers) for seed in seeds]
    assert {case.broken for case in cases} == breaks.keys()
    assert {case.walk for case in cases} == WALKS.keys()
    assert {case.host for case in cases} == set(containers or hosts)
    assert [str(case) for case in cases] == [str(campaign.case(seed, hosts, containers)) for seed in seeds]


def test_what_only_containers_have_is_in_the_sample() -> None:
    sample = {campaign.case(seed, ["h1", "c1"], ["c1"]).broken for seed in OF_CONTAINERS}
    assert sample == breaking_containers.BREAKS.keys() - breaking.BREAKS.keys()
