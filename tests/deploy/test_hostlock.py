"""The lock of a host: it ends with the last step of whoever had it, not with the controller."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import cast

import pytest
from pyinfra.api.host import Host

from deploy.connection import hostlock
from deploy.connection.several import connect
from deploy.connection.ssh import Remote
from deploy.engine import host_lock
from deploy.engine.connector import HostConnector
from inventory.load import load
from roles.onhost import supervisor_boot

pytestmark = pytest.mark.slow


class Lock:
    """The lock of a host that is a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def local(self, command: list[str]) -> list[str]:
        places = {"/run/sdfleet": "sdfleet", "/etc/sdfleet": "etc"}
        for place, here in places.items():
            command = [word.replace(place, f"{self.folder}/{here}") for word in command]
        return command

    def take(self, verb: str, change: str = "") -> tuple["subprocess.Popen[str]", str]:
        """Who holds it for a verb, and what it said first."""
        holder = subprocess.Popen(
            self.local(hostlock.command(verb, change=change)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert holder.stdout
        return holder, holder.stdout.readline()

    def answer(self, holder: "subprocess.Popen[str]", said: str) -> str:
        """What the host says in the end."""
        assert holder.stdout
        while hostlock.waits(said):
            said = holder.stdout.readline()
        return said

    def step(self, seconds: float) -> "subprocess.Popen[str]":
        """A step that takes so long."""
        process = subprocess.Popen(
            self.local([*hostlock.STEP, "sh", "-c", f"echo begun; sleep {seconds}"]), stdout=subprocess.PIPE, text=True
        )
        assert process.stdout and process.stdout.readline() == "begun\n"
        return process


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lock]:
    yield Lock(tmp_path)


def end(*processes: "subprocess.Popen[str]") -> None:
    for process in processes:
        process.communicate(timeout=30)


def test_one_at_a_time(lock: Lock) -> None:
    first, said = lock.take("apply")
    assert hostlock.refusal(said) is None
    second, said = lock.take("update")
    assert "`sdfleet apply` of " in str(hostlock.refusal(said))
    end(second, first)
    third, said = lock.take("update")
    assert hostlock.refusal(said) is None
    end(third)


def test_both_processes_of_one_run_have_it(lock: Lock) -> None:
    first, _ = lock.take("update", "t")
    again, said = lock.take("update", "t")
    other, refused = lock.take("update", "u")
    assert hostlock.refusal(said) is None and "`sdfleet update` of " in str(hostlock.refusal(refused))
    end(again, other, first)
    ended, said = lock.take("update", "t")
    assert hostlock.refusal(lock.answer(ended, said)) is None
    end(ended)


def test_no_service_can_take_it(lock: Lock, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [lock.folder / name for name in ("sdfleet.lock", "sdfleet.steps")]
    for file in files:
        file.touch(0o644)  # as an earlier sdfleet made them
    holder, said = lock.take("apply")
    assert hostlock.refusal(said) is None and [file.stat().st_mode & 0o777 for file in files] == [0o600, 0o600]
    end(holder)
    if os.geteuid() == 0:
        monkeypatch.setenv("SUDO_UID", "1234")
        holder, said = lock.take("apply")
        assert hostlock.refusal(said) is None and [file.stat().st_uid for file in files] == [0, 1234], (
            "who logs in shares the lock of steps"
        )
        end(holder)


def test_a_step_that_outlives_its_controller_keeps_the_lock(lock: Lock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        hostlock, "_SCRIPT", hostlock._SCRIPT.replace(f"--timeout {hostlock.STEP_SECONDS}", "--timeout 0.3")
    )
    first, _ = lock.take("apply")
    step = lock.step(1.5)
    assert first.stdin
    first.stdin.close()  # what the holder sees when its controller dies
    time.sleep(0.2)
    second, said = lock.take("apply")
    assert "the last step of `sdfleet apply` of" in str(hostlock.refusal(lock.answer(second, said))), said
    end(step)
    first.wait(10)
    third, said = lock.take("apply")
    assert hostlock.refusal(said) is None
    end(third, second)


def test_a_newcomer_waits_for_the_last_step(lock: Lock) -> None:
    first, _ = lock.take("apply")
    step = lock.step(1)
    first.kill()  # not even the holder is left
    first.wait()
    began = time.monotonic()
    second, said = lock.take("apply")
    assert hostlock.refusal(lock.answer(second, said)) is None
    assert time.monotonic() - began > 0.5
    step.wait(0.2)  # the kernel lets go of its lock a moment before it has ended
    end(second, step)


def test_who_waits_for_a_last_step_is_told_whose_it_is(lock: Lock) -> None:
    first, _ = lock.take("update")
    step = lock.step(1)
    assert first.stdin
    first.stdin.close()
    time.sleep(0.2)
    second, said = lock.take("apply")
    told = str(hostlock.waits(said))
    assert step.poll() is None, "it is told before the step has ended"
    assert told.startswith("the last step of `sdfleet update` of ") and told.endswith("which has ended")
    assert hostlock.refusal(lock.answer(second, said)) is None
    first.wait(10)
    end(second, step)


def booting(lock: Lock, running: bool, tmp_path: Path) -> tuple["subprocess.Popen[str]", list[str]]:
    """Who holds the lock of a host without systemd, and all that was said until then."""
    boot, started = tmp_path / "boot.sh", tmp_path / "started"
    serves = f'[ "$1" != serves ] || exit {int(not running)}'
    boot.write_text(f"#!/bin/sh\n{serves}\n(exec sleep 5) &\necho noise; touch {started}\n")
    boot.chmod(0o755)
    command = [
        word.replace("/run/systemd/system", f"{tmp_path}/none")
        for word in hostlock.command("start", PurePosixPath(boot))
    ]
    holder = subprocess.Popen(lock.local(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout
    said = [holder.stdout.readline()]
    while hostlock.waits(said[-1]):
        said.append(holder.stdout.readline())
    return holder, said


def test_a_host_without_systemd_starts_its_services_before_its_lock_is_taken(lock: Lock, tmp_path: Path) -> None:
    holder, said = booting(lock, False, tmp_path)
    assert hostlock.waits(said[0]) == f"{tmp_path}/boot.sh, which starts its services"
    assert len(said) == 2 and hostlock.refusal(said[1]) is None and (tmp_path / "started").exists()
    assert holder.stdin
    holder.stdin.close()
    holder.wait(3)
    other, answer = lock.take("apply")
    assert hostlock.refusal(answer) is None, "what it starts does not keep the lock"
    end(other)


def test_services_that_run_are_left_alone(lock: Lock, tmp_path: Path) -> None:
    holder, said = booting(lock, True, tmp_path)
    assert len(said) == 1 and hostlock.refusal(said[0]) is None and not (tmp_path / "started").exists()
    end(holder)


def test_what_a_step_leaves_running_does_not_keep_the_lock(lock: Lock) -> None:
    leaves = lock.local([*hostlock.STEP, "sh", "-c", "sleep 5 >/dev/null 2>&1 &"])
    subprocess.run(leaves, check=True, timeout=3)
    began = time.monotonic()
    holder, said = lock.take("apply")
    assert hostlock.refusal(said) is None and time.monotonic() - began < 3
    end(holder)


def test_the_start_of_a_real_webui_is_waited_for_as_a_last_step() -> None:
    """On two busy cores a switch went on for a minute and more after its controller was killed."""
    assert hostlock.STEP_SECONDS >= 60
    assert host_lock.ANSWER_SECONDS > 2 * hostlock.STEP_SECONDS, "the script waits for two locks before it answers"


def test_a_start_of_all_services_is_no_lost_connection() -> None:
    """It took 145 s on two cores at a load of 22; supervisord's own shutdown, which it waits for, may take longer."""
    assert hostlock.BOOT_SECONDS > supervisor_boot.SHUTDOWN_SECONDS + 2 * 145
    assert host_lock.ANSWER_SECONDS > 2 * hostlock.STEP_SECONDS + hostlock.BOOT_SECONDS


def test_a_host_out_of_reach_whose_sudo_asks_for_a_password_keeps_no_other(tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    away = 'address = "127.0.0.1"\nport = 1\nuser = "ops"\nsudo_password = { command = ["echo", "x"] }\n'
    file.write_text(f'[fleet]\nname = "s"\n[hosts.a]\n{away}[hosts.b]\n{away}')
    with connect(load(file).hosts.values()) as remotes, hostlock.locked(remotes, "stop webui") as refused:
        assert list(refused) == ["a", "b"]
        assert all(error.unreachable for error in refused.values())


def test_a_host_that_goes_away_while_its_lock_is_taken_is_said_to_be_out_of_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ssh ends with the status of a command that was cut off by a shutdown, and nothing was said."""
    file = tmp_path / "fleet.toml"
    file.write_text('[fleet]\nname = "s"\n[hosts.a]\naddress = "203.0.113.1"\n')
    monkeypatch.setattr(Remote, "argv", lambda self, command: ["true"])
    with connect(load(file).hosts.values()) as remotes, hostlock.locked(remotes, "update") as refused:
        said = str(refused["a"])
    assert said.startswith("a (root@203.0.113.1:22): cannot be reached: the connection was lost before")
    assert said.endswith("check address, port, firewall, and that the host is up") and refused["a"].unreachable


def test_a_lock_that_ends_with_a_restart_of_its_host_is_taken_again(
    lock: Lock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, holders = tmp_path / "fleet.toml", tmp_path / "holders"
    file.write_text('[fleet]\nname = "s"\n[hosts.a]\naddress = "203.0.113.1"\n')
    noted = ["sh", "-c", f'echo $$ >>{holders}; exec "$@"', "sh"]
    monkeypatch.setattr(Remote, "argv", lambda self, command: [*noted, *lock.local(list(command))])
    monkeypatch.setattr(hostlock, "AGAIN_SECONDS", 0.1)
    with (
        connect(load(file).hosts.values()) as remotes,
        hostlock.locked(remotes, "update", change="t") as refused,
    ):
        assert not refused
        os.kill(int(holders.read_text()), signal.SIGKILL)
        deadline = time.monotonic() + 20
        while len(holders.read_text().split()) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.5)
        second, said = lock.take("apply")
        assert "`sdfleet update` of " in str(hostlock.refusal(said))
        end(second)
    third, said = lock.take("apply")
    assert hostlock.refusal(lock.answer(third, said)) is None
    end(third)


class Reconnected(HostConnector):
    """A connection to a host, made for the second time."""

    def __init__(self) -> None:
        self.connections, self.locked_since, self.unconfirmed = 2, 1, False


@pytest.mark.parametrize(
    ("armed", "waits", "why"),
    [
        (True, True, ""),
        (False, False, ""),
        (True, False, "the host could not be reached for so long after its restart that it went back by itself"),
    ],
)
def test_a_host_that_an_operation_restarts_is_locked_again(
    armed: bool, waits: bool, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connector, asked = Reconnected(), []

    def hold(host: object, verb: str, change: str, told: object) -> None:
        asked.append((verb, change))
        connector.unconfirmed, connector.locked_since = waits, connector.connections

    monkeypatch.setattr(host_lock, "hold", hold)
    host = cast(Host, SimpleNamespace(connector=connector))
    said = [host_lock.hold_again(host, "apply", "t", armed, lambda text: None) for _ in range(2)]
    assert said == [why or None, None]
    assert asked == [("apply", "t")], "once for each connection"
