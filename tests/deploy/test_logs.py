"""`sdfleet logs` where the host's service manager does not answer, or the connection ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deploy import logs
from tests.deploy.fake_hosts import FakeHosts, fakes

pytestmark = pytest.mark.slow

__all__ = ["fakes"]

TREE = Path(__file__).resolve().parents[2]


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


def journal(fakes: FakeHosts, command: str) -> None:
    """What journalctl of every host does."""
    (fakes.folder / "programs/journalctl").write_text(f"#!/bin/sh\n{command}\n")


def test_lines_of_several_hosts_name_their_host(fakes: FakeHosts) -> None:
    fakes.write({"h1": "webui", "longer": "webui", "h3": "train"})
    for name in ("h1", "longer", "h3"):
        (fakes.host(name) / "show").write_text("loaded\n")
    journal(fakes, "echo one; echo two")
    done = fakes.sdfleet("logs", "webui")
    assert (done.exit_code, done.output.splitlines()) == (
        0,
        ["h1      one", "h1      two", "longer  one", "longer  two"],
    )
    assert fakes.sdfleet("logs", "h1,h3").output.splitlines() == ["h1  one", "h1  two", "h3  one", "h3  two"]
    assert fakes.sdfleet("logs", "h3").output.splitlines() == ["one", "two"], "one host needs no name"


def test_a_host_that_is_away_does_not_keep_the_logs_of_the_others(fakes: FakeHosts) -> None:
    fakes.write({"h1": "webui", "h2": "webui", "h3": "webui"})
    for name in ("h1", "h3"):
        (fakes.host(name) / "show").write_text("loaded\n" if name == "h1" else "not-found\n")
    (fakes.host("h2") / "away").touch()
    done = fakes.sdfleet("logs", "webui")
    assert done.exit_code == 1
    assert "h1  its last words" in done.output and "No route to host" in done.output
    assert "error h3: there is no sdfleet-webui.service (not-found)" in done.output


def test_a_host_is_meant_if_a_group_has_its_name(fakes: FakeHosts) -> None:
    fakes.write({"webui": "train", "h1": "webui"})
    (fakes.host("webui") / "show").write_text("loaded\n")
    assert fakes.sdfleet("logs", "webui").output == "its last words\n"


def test_an_unknown_host_is_wrong_usage(fakes: FakeHosts) -> None:
    fakes.write({"h1": "webui"})
    done = fakes.sdfleet("logs", "h1,h9")
    assert done.exit_code == 2 and "no host or group 'h9'; known are h1, webui" in done.output


def test_a_name_that_the_host_does_not_know_is_refused(fakes: FakeHosts) -> None:
    fakes.write({"h1": "webui train"})
    (fakes.host("h1") / "show").write_text("loaded\n")
    done = fakes.sdfleet("logs", "h1", "nope")
    assert (done.exit_code, done.output) == (
        1,
        "h1 has no service or training run 'nope'; it has services: webui, tensorboard; runs: none",
    )
    for number in range(12):
        run = fakes.root("h1") / f"runs/cat-{number:02}"
        run.mkdir(parents=True)
        (run / "config.toml").touch()
    assert "'weubi' (did you mean webui?); it has" in fakes.sdfleet("logs", "h1", "weubi").output
    done = fakes.sdfleet("logs", "h1", "cat-1O")
    assert "'cat-1O' (did you mean cat-1" in done.output and "cat-08, cat-09 and 2 more (sdfleet" in done.output
    assert fakes.sdfleet("logs", "h1", "cat-07").output == "its last words\n", "it has never begun"


def test_logs_of_several_hosts_are_followed_until_ctrl_c(fakes: FakeHosts) -> None:
    fakes.write({"h1": "webui", "h2": "webui"})
    for name in ("h1", "h2"):
        (fakes.host(name) / "show").write_text("loaded\n")
    journal(fakes, 'echo begun; touch "$FAKE_HOST/begun"; exec sleep 60')
    program = [sys.executable, "-P", "-u", "-c", "import sdfleet; sdfleet.main()"]
    process = subprocess.Popen(
        [*program, "logs", "webui", "-f", "--fleet", str(fakes.file)],
        env={**os.environ, "PYTHONPATH": str(TREE)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout
    try:
        assert sorted(process.stdout.readline() for _ in range(2)) == ["h1  begun\n", "h2  begun\n"]
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
