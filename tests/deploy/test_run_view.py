"""What an apply tells in a pipe while an operation takes long, and what comes next when there is nothing to do."""

import io
import time

import pytest

from deploy import console
from deploy.console import RunView
from deploy.events import HostResult, Started


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What comes out where standard output is no terminal."""
    text = io.StringIO()
    monkeypatch.setattr(console, "out", console.Terminal(file=text, width=200))
    return text


def test_a_pipe_hears_what_is_waited_for(piped: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "REMIND_SECONDS", 0.05)
    with RunView(("gpu-1", "gpu-2"), apply=True) as view:
        view.show(Started(host="gpu-1", operation="Install torch"))
        view.show(HostResult(host="gpu-2", status="ok"))
        time.sleep(0.3)
    told = piped.getvalue().splitlines()
    assert "gpu-1 still: Install torch (0 s)" in told
    assert not [line for line in told if "gpu-2" in line]
    before = len(told)
    time.sleep(0.1)
    assert len(piped.getvalue().splitlines()) == before, "it goes on after the run"
