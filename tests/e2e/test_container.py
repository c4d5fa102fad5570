"""A rented container without systemd: applied, checked, and up again after a stop, by its start script alone."""

import os
import re
import signal
import time
from collections.abc import Iterator

import pytest
import tomlkit

from lab import box
from lab.state import Rented
from tests.e2e.conftest import Road

pytestmark = pytest.mark.lab

NAME = "c1"
ROOT = "/workspace/sdfleet"
ACTIVE = "python3 -I {}/tools/onhost.pyz supervisor_manager is-active sdfleet-webui.service"
PROCESSES = "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline; echo; done 2>/dev/null | grep -c '{}'"
PROGRAMS = "grep -l launch.py /proc/[0-9]*/cmdline"
THREADS = f"for p in $({PROGRAMS}); do tr '\\0' '\\n' <${{p%cmdline}}environ; done | grep ^OMP | uniq"
"""The container's own number of threads, as its WebUI has it."""


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    """A container of AutoDL's kind that serves and trains, after a first apply."""
    folder = tmp_path_factory.mktemp("container")
    with box.attached(hosts=0, containers=(Rented(provider="autodl"),)) as running:
        made = Road(running, folder)
        box.write_fleet(running, made.file, fleet={"data_root": ROOT}, pinned=False)
        document = tomlkit.parse(made.file.read_text())
        host = document["hosts"][NAME]
        host["groups"] = ["webui", "train"]
        host["password"] = {"env": "RENTED_PASSWORD"}
        made.file.write_text(tomlkit.dumps(document))
        box.pin(running, made.file)
        password = running.folder.password(NAME).read_text().strip()
        done = made.sdfleet("trust", NAME, RENTED_PASSWORD=password)
        assert done.code == 0, done.text
        done = made.sdfleet("apply")
        assert done.code == 0, done.text
        print(f"first apply: {done.seconds:.0f} s")
        yield made


def until_active(container: Road, root: str = ROOT) -> float:
    """Wait for the WebUI; how long that took, in s."""
    began = time.monotonic()
    while container.lab.ssh(NAME, ACTIVE.format(root)).returncode:
        assert time.monotonic() - began < 120, container.sdfleet("logs", NAME, "webui").text
        time.sleep(1)
    return time.monotonic() - began


def test_who_follows_a_log_leaves_nothing_behind(container: Road) -> None:
    following = container.start("logs", NAME, "webui", "-f")
    assert following.stdout and following.stdout.readline()
    os.killpg(following.pid, signal.SIGKILL)
    following.communicate()
    deadline = time.monotonic() + 10
    while container.lab.ssh(NAME, PROCESSES.format("[s]how_log")).stdout.strip() != "0":
        assert time.monotonic() < deadline
        time.sleep(0.3)


def test_a_second_apply_changes_nothing_and_verify_finds_nothing(container: Road) -> None:
    again = container.sdfleet("apply")
    assert again.code == 0 and re.search(rf"{NAME} +ok +0 ", again.text), again.text
    assert (done := container.sdfleet("verify")).code == 0, done.text
    assert container.lab.ssh(NAME, "readlink /root/tf-logs/sdfleet").stdout.strip() == f"{ROOT}/runs"
    threads = container.lab.ssh(NAME, THREADS)
    assert threads.stdout == "OMP_NUM_THREADS=1\n", threads


def test_its_start_script_brings_all_back_after_a_stop(container: Road) -> None:
    before = container.lab.ssh(NAME, "getent passwd sdwebui sdtrain").stdout
    container.lab.stop(NAME)
    container.lab.start(NAME)
    print(f"ready after {until_active(container):.0f} s")
    assert container.lab.ssh(NAME, "getent passwd sdwebui sdtrain").stdout == before
    again = container.sdfleet("apply")
    assert again.code == 0 and re.search(rf"{NAME} +ok +0 ", again.text), again.text


@pytest.mark.parametrize("words", [("start", NAME), ("restart", "webui"), ("apply",)])
def test_a_killed_supervisord_is_started_and_the_webui_waited_for(container: Road, words: tuple[str, ...]) -> None:
    container.lab.ssh(NAME, "kill -9 $(cat /run/sdfleet-supervisor/supervisord.pid)")
    done = container.sdfleet(*words)
    assert done.code == 0 and f"waiting for {ROOT}/boot.sh, which starts its services" in done.text, done.text
    assert container.lab.ssh(NAME, ACTIVE.format(ROOT)).returncode == 0, done.text
    runners = container.lab.ssh(NAME, PROCESSES.format("[s]upervised sdfleet-webui.service")).stdout
    assert runners.strip() == "1", runners
    assert (done := container.sdfleet("verify")).code == 0, done.text
