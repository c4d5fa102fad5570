"""The training runs in AutoDL's own TensorBoard: a link, there alone, and gone with the role."""

from pathlib import PurePosixPath

import pytest
from pyinfra.api.exceptions import DeployError

from roles.base.tf_logs import LINK, SIGNS, show_runs
from roles.facts.seen import Entry, HostSurvey
from tests.roles.declared import declared

RUNS = PurePosixPath("/workspace/sdfleet/runs")
AUTODL = {str(SIGNS[0]): Entry("f", "root", "root", 0o644)}


def linked(target: str) -> dict[str, Entry]:
    return {str(LINK): Entry("l", "root", "root", 0o777, target)}


def done(runs: PurePosixPath | None, entries: dict[str, Entry]) -> dict[str, list[str]]:
    return declared(lambda: show_runs(runs, HostSurvey(entries)))


def test_a_link_is_made_and_then_left_alone() -> None:
    [commands] = done(RUNS, AUTODL).values()
    assert commands == [f"mkdir -p -m 700 /root/tf-logs && ln -sfn {RUNS} /root/tf-logs/sdfleet"]
    assert done(RUNS, AUTODL | linked("/elsewhere/runs")).values()
    assert done(RUNS, AUTODL | linked(str(RUNS))) == {}


def test_no_other_providers_host_gets_one() -> None:
    assert done(RUNS, {}) == {}


def test_it_goes_with_the_role_or_the_provider() -> None:
    for runs, entries in ((None, AUTODL), (RUNS, {}), (None, {})):
        assert list(done(runs, entries | linked(str(RUNS))).values()) == [["rm -f /root/tf-logs/sdfleet"]]
    assert done(None, AUTODL) == {}


def test_a_folder_of_somebodys_in_its_place_is_left_alone() -> None:
    folder = {str(LINK): Entry("d", "root", "root", 0o755)}
    with pytest.raises(DeployError, match=r"/root/tf-logs/sdfleet is in the way"):
        done(RUNS, AUTODL | folder)
    assert done(None, AUTODL | folder) == {}
