"""What an update measures of a host, in turns: noise refuses no update, and what is dear is refused."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from deploy.connection.several import connect
from deploy.connection.ssh import Remote
from deploy.rollout import checks, cost, gates, trial
from inventory.load import load
from inventory.rollout import Rollout
from tests.deploy.fake_hosts import FakeHosts, fakes
from tests.deploy.test_rollback import serve
from tests.deploy.test_rollout import GB, measured, seen

__all__ = ["fakes"]

OLD = measured([1.0, 1.1, 1.0], 0, 2 * GB)
DEAR, GOOD = measured([2.0, 2.1, 2.0], 0, 2 * GB), measured([1.1, 1.0, 1.0], 0, 2 * GB)


@pytest.fixture
def remote(fakes: FakeHosts, monkeypatch: pytest.MonkeyPatch) -> Iterator[Remote]:
    """A host with a WebUI that has served."""
    monkeypatch.setattr(cost, "TURN_PAUSE_SECONDS", 0)
    fakes.write({"h1": "webui"})
    serve(fakes, "h1", "good")
    with connect(load(fakes.file).hosts.values()) as remotes:
        yield remotes["h1"]


def looks(*answers: dict[str, Any]) -> Callable[..., dict[str, Any]]:
    """`gates.look` with these answers, the last of them again and again."""
    left = list(answers)
    return lambda *_: left.pop(0) if len(left) > 1 else left[0]


@pytest.mark.parametrize(
    ("turns", "said"),
    [
        ([GOOD], ""),
        ([DEAR, GOOD], ""),
        ([DEAR, DEAR, GOOD], ""),
        ([DEAR], "the picture takes 2 s, with the old release 1 s"),
        ([measured([1.0], 0, 3 * GB)], "takes 3.00 GB of main memory"),
        # Each time something else: the least of all turns counts.
        ([measured([2.0], 0, 2 * GB), measured([1.0], 0, 3 * GB)], ""),
        ([DEAR, seen(failed="stable", said="it was restarted")], "it was restarted"),
        ([seen()], ""),
        # What was measured stands where a later turn measures nothing.
        ([DEAR, seen()], "the picture takes 2 s"),
        ([{**GOOD, "took": ["much"]}], "cannot be judged"),
    ],
)
def test_what_seems_dear_is_measured_again_before_it_is_refused(
    turns: list[dict[str, Any]], said: str, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gates, "look", looks(*turns))
    failure = checks.Checks(Rollout()).failure(remote, OLD)
    assert said in (failure.said if failure else "") and bool(failure) == bool(said)


def test_a_card_that_is_unknown_in_one_turn_is_that_of_the_other() -> None:
    turns = measured([2.0], 0, 3 * GB), measured([1.0], 5 * GB, 2 * GB)
    for first, again in (turns, turns[::-1]):
        assert cost.of_pictures(cost.least_of_turns(first, again)) == {
            "seconds": 1,
            "card": 5 * GB,
            "processes": 2 * GB,
        }


def test_what_was_not_measured_is_said(
    remote: Remote, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gates, "look", looks(seen(unmeasured="it drew for others")))
    assert checks.Checks(Rollout()).failure(remote, OLD) is None
    assert "h1 what a picture costs webui was not measured: it drew for others" in capsys.readouterr().out


def test_only_the_first_hosts_are_measured(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def look(remote: Remote, settings: Rollout, seconds: float, measured: list[str]) -> dict[str, Any]:
        asked.append(measured)
        return GOOD if measured else seen()

    monkeypatch.setattr(gates, "look", look)
    done = checks.Checks(Rollout())
    assert done.unmeasured(remote.host) == ["webui"]
    assert done.failure(remote, OLD) is None and done.unmeasured(remote.host) == []
    assert done.failure(remote, seen()) is None and asked == [["webui"], []]


def test_where_the_trainer_changes_it_is_compared_on_one_host(
    fakes: FakeHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes.write({"h1": "webui train", "h2": "webui"})
    asked: list[tuple[str, str]] = []

    def compare(remote: Remote, old: str, settings: Rollout) -> tuple[bool, None]:
        asked.append((remote.name, old))
        return len(asked) > 1, None  # the first time a training holds the device

    monkeypatch.setattr(trial, "compare", compare)
    monkeypatch.setattr(cost, "TURN_PAUSE_SECONDS", 0)
    monkeypatch.setattr(gates, "look", looks(DEAR, DEAR, DEAR, GOOD))
    before = {**OLD, "releases": {"trainer": "t0"}}
    done = checks.Checks(Rollout())
    with connect(load(fakes.file).hosts.values()) as remotes:
        assert done.failure(remotes["h1"], before) and not asked, "its picture is refused already"
        assert done.failure(remotes["h2"], before) is None and not asked, "it has no trainer"
        for _ in range(3):
            assert done.failure(remotes["h1"], before) is None
        assert done.failure(remotes["h1"], OLD) is None, "it had no trainer before"
    assert asked == [("h1", "t0")] * 2


def test_releases_show_what_was_measured(fakes: FakeHosts, remote: Remote) -> None:
    serve(fakes, "h1", "good", app="trainer")
    assert checks.Checks(Rollout()).note(remote, OLD) == ["webui"]
    cost.note(remote, "trainer", {"seconds": 0.125, "card": 3 * GB}, "r0")
    cost.note(remote, "trainer", {"seconds": 9}, "r9")  # it never served
    shown = fakes.sdfleet("releases").output
    assert "1 s, 2.00 GB" in shown and "8 steps/s, 3.00 GB VRAM" in shown, shown


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (GOOD, "1 s, 2.00 GB with the old release of webui again"),
        (DEAR, "2 s, 2.00 GB with the old release of webui as well now: something else uses the host; run the update"),
        (seen(), ""),
    ],
)
def test_after_a_refusal_the_old_release_is_measured_again(
    now: dict[str, Any], said: str, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gates, "look", looks(now))
    told = checks.Checks(Rollout()).old(remote, OLD)
    assert told.startswith(said) and bool(told) == bool(said)
