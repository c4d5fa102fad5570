"""`sdfleet logs` where the host's service manager does not answer, or the connection ends."""

import pytest

from deploy import logs
from tests.deploy.fake_hosts import FakeHosts, fakes

__all__ = ["fakes"]


@pytest.mark.parametrize("systemctl", ["echo 'Failed to connect to bus' >&2; exit 1", "kill -STOP $$"])
def test_a_systemd_that_does_not_answer_is_not_one_without_the_unit(fakes: FakeHosts, systemctl: str) -> None:
    fakes.write({"h1": "webui"})
    (fakes.folder / "programs/systemctl").write_text(f"#!/bin/sh\n{systemctl}\n")
    ssh = fakes.folder / "programs/ssh"
    ssh.write_text(ssh.read_text().replace("def local(text):", "def local(text):\n    text = text.replace(*SOONER)"))
    ssh.write_text(ssh.read_text().replace("def local", "SOONER = ('SECONDS = 30', 'SECONDS = 0.5')\ndef local", 1))
    done = fakes.sdfleet("logs", "h1")
    assert (done.exit_code, done.output) == (1, "systemd of h1 does not answer")


def test_a_connection_that_ends_at_once_is_told(fakes: FakeHosts, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes.write({"h1": "webui"})
    (fakes.host("h1") / "show").write_text("loaded\n")
    larger_than_a_pipe = "x" * 1_000_000

    def called(*_: str) -> str:
        (fakes.host("h1") / "away").touch()
        return larger_than_a_pipe

    monkeypatch.setattr(logs, "called", called)
    done = fakes.sdfleet("logs", "h1")
    assert done.exit_code == 1 and "No route to host" in done.output, done
    assert "the connection was lost" in done.output
