"""The training runs in AutoDL's own TensorBoard: a link, there alone, and gone with the role."""

from pathlib import PurePosixPath

import pytest
from pyinfra.api.exceptions import DeployError

from roles.base.tf_logs import LINK, PROVIDER, show_runs
from roles.facts.seen import Entry, HostSurvey
from tests.roles.declared import declared

RUNS = PurePosixPath("/workspace/sdfleet/runs")


def linked(target: str) -> dict[str, Entry]:
    return {str(LINK): Entry("l", "root", "root", 0o777, target)}


def done(runs: PurePosixPath | None, provider: str, entries: dict[str, Entry]) -> dict[str, list[str]]:
    return declared(lambda: show_runs(runs, provider, HostSurvey(entries)))


def test_a_link_is_made_and_then_left_alone() -> None:
    [commands] = done(RUNS, PROVIDER, {}).values()
    assert commands == [f"mkdir -p -m 700 /root/tf-logs && ln -sfn {RUNS} /root/tf-logs/sdfleet"]
    assert done(RUNS, PROVIDER, linked("/elsewhere/runs")).values()
    assert done(RUNS, PROVIDER, linked(str(RUNS))) == {}


def test_no_other_providers_host_gets_one() -> None:
    assert done(RUNS, "RunPod", {}) == {}


def test_it_goes_with_the_role_or_the_provider() -> None:
    for runs, provider in ((None, PROVIDER), (RUNS, "RunPod"), (None, "")):
        assert list(done(runs, provider, linked(str(RUNS))).values()) == [["rm -f /root/tf-logs/sdfleet"]]
    assert done(None, PROVIDER, {}) == {}


def test_a_folder_of_somebodys_in_its_place_is_left_alone() -> None:
    folder = {str(LINK): Entry("d", "root", "root", 0o755)}
    with pytest.raises(DeployError, match=r"/root/tf-logs/sdfleet is in the way"):
        done(RUNS, PROVIDER, folder)
    assert done(None, PROVIDER, folder) == {}
