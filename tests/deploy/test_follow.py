"""Following a run over a connection that comes and goes."""

import json
from typing import Any

import pytest

from deploy.connection.ssh import HostError
from deploy.runs.follow import follow


class Host:
    """A host that gives the listed answers, one a question."""

    name = "h1"

    def __init__(self, *answers: dict[str, Any] | HostError) -> None:
        self.answers = list(answers)
        self.offsets: list[int] = []

    def read(self, run: str, offset: int) -> dict[str, Any]:
        self.offsets.append(offset)
        answer = self.answers.pop(0)
        if isinstance(answer, HostError):
            raise answer
        return {"reason": "", **answer}


def step(number: int) -> str:
    return json.dumps({"event": "step", "step": number, "steps": 3}) + "\n"


def test_a_lost_connection_is_taken_up_where_it_was() -> None:
    host = Host(
        {"state": "running", "text": step(1), "offset": 40},
        HostError("h1: cannot be reached", unreachable=True),
        # After a boot the unit is not started yet.
        {"state": "stopped", "text": "", "offset": 40},
        {"state": "running", "text": step(2), "offset": 80},
        {"state": "finished", "text": step(3), "offset": 120},
    )
    ended = follow(host, "r", sleep=lambda _: None)
    assert (ended.state, ended.progress.step) == ("finished", 3)
    assert host.offsets == [0, 40, 40, 40, 80]


def test_a_stopped_run_is_told_at_once() -> None:
    ended = follow(Host({"state": "stopped", "text": step(1), "offset": 40}), "r", sleep=lambda _: None)
    assert (ended.state, ended.progress.step) == ("stopped", 1)


def test_a_run_that_is_not_there_is_an_error() -> None:
    with pytest.raises(HostError, match="no such run"):
        follow(Host(HostError("h1: r: no such run on this host")), "r", sleep=lambda _: None)
