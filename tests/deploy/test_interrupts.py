"""SIGTERM and SIGHUP end a command as Ctrl-C does, and leave nothing behind."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.deploy.fake_hosts import FakeHosts, fakes

pytestmark = pytest.mark.slow

__all__ = ["fakes"]

TREE = Path(__file__).resolve().parents[2]
SDFLEET = "import sdfleet; sdfleet.main()"
DEMO = """
import sys
from pathlib import Path
from deploy import interrupts
from deploy.demo import _Session
interrupts.listen()
_Session(Path.cwd()).type("Open it", *sys.argv[1:])
"""
"""What `sdfleet demo` does: it runs other commands of ours."""


@pytest.fixture
def port(fakes: FakeHosts) -> Iterator[int]:
    """Where the WebUI of the host h1 listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        fakes.write({"h1": "webui"}, f"[webui]\nport = {port}")
        yield port


@contextmanager
def started(
    fakes: FakeHosts, *words: str, program: str = SDFLEET, ignores: tuple[signal.Signals, ...] = ()
) -> "Iterator[subprocess.Popen[str]]":
    """A command in the background, like one of a shell without job control if it ignores SIGINT."""

    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup may have started the tests
        for number in ignores:
            signal.signal(number, signal.SIG_IGN)

    process = subprocess.Popen(
        [sys.executable, "-P", "-u", "-c", program, words[0], "--fleet", str(fakes.file), *words[1:]],
        cwd=fakes.folder,
        env={**os.environ, "PYTHONPATH": str(TREE), "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=ignore,
    )
    try:
        yield process
    finally:
        if left(process):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def left(process: "subprocess.Popen[str]") -> list[str]:
    """The processes that it has started and that still run; those that only wait for process 1 to be reaped do not."""
    listed = ["ps", "--no-headers", "-o", "stat,args", "-g", str(process.pid)]
    lines = subprocess.run(listed, capture_output=True, text=True).stdout.splitlines()
    return [line for line in lines if not line.startswith("Z")]


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def opened(process: "subprocess.Popen[str]") -> Path:
    """The folder of the connections of a command that has opened a tunnel."""
    assert process.stdout
    until(lambda: "http://127.0.0.1" in (process.stdout.readline() if process.stdout else ""))
    commands = subprocess.run(["pgrep", "-a", "-g", str(process.pid)], capture_output=True, text=True).stdout
    [found] = re.findall(r"-F (\S+)/config -o .* -N -L", commands)
    return Path(found)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_tunnel_is_closed(number: signal.Signals, fakes: FakeHosts, port: int) -> None:
    ignores = () if number == signal.SIGINT else (signal.SIGINT,)
    with started(fakes, "open", "h1", "webui", ignores=ignores) as process:
        folder = opened(process)
        assert folder.is_dir()
        process.send_signal(number)
        assert process.wait(20) == 0, "as Ctrl-C, which is how it ends"
        assert left(process) == [] and not folder.exists()


def test_a_tunnel_outlives_its_terminal_with_nohup(fakes: FakeHosts, port: int) -> None:
    with started(fakes, "open", "h1", "webui", ignores=(signal.SIGHUP,)) as process:
        folder = opened(process)
        process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert left(process) == [] and not folder.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("hosts", [1, 2])
def test_commands_on_hosts_are_ended(hosts: int, number: signal.Signals, fakes: FakeHosts) -> None:
    names = [f"h{index}" for index in range(hosts)]
    fakes.write(dict.fromkeys(names, "train"))
    command = 'echo "begun"; exec sleep 60'
    with started(fakes, "exec", "train", "--", command, ignores=(signal.SIGINT,)) as process:
        assert process.stdout
        for _ in names:
            until(lambda: (process.stdout.readline() if process.stdout else "").endswith("begun\n"))
        process.send_signal(number)
        process.send_signal(number)  # a closed terminal says it more than once
        assert process.wait(20) == 128 + number
        assert "Interrupted. Run the same command again to continue." in process.stdout.read()
        assert left(process) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_log_is_no_longer_followed(number: signal.Signals, fakes: FakeHosts) -> None:
    fakes.write({"h1": "webui"})
    (fakes.host("h1") / "show").write_text("loaded\n")
    (fakes.folder / "programs/journalctl").write_text("#!/bin/sh\necho begun; exec sleep 60\n")
    with started(fakes, "logs", "h1", "-f", ignores=(signal.SIGINT,)) as process:
        assert process.stdout and process.stdout.readline() == "begun\n"
        process.send_signal(number)
        assert process.wait(20) == 0


def test_what_a_demo_runs_ends_with_it(fakes: FakeHosts, port: int) -> None:
    with started(fakes, "open", "h1", "webui", program=DEMO, ignores=(signal.SIGINT,)) as process:
        folder = opened(process)
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        assert left(process) == [] and not folder.exists()


def test_a_second_interrupt_ends_what_does_not_end(fakes: FakeHosts) -> None:
    # The pause: before Popen has returned there is no child that could be ended.
    deaf = "trap '' INT; sleep 1; echo begun; while :; do sleep 0.1; done"
    program = f"from deploy import interrupts; interrupts.run(['sh', '-c', {deaf!r}])"
    with started(fakes, "", program=program) as process:
        assert process.stdout and process.stdout.readline() == "begun\n"
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(1)
        process.wait(20)
        assert left(process) == []
