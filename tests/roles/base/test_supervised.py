"""Services below a real supervisord: readiness, restarts, stop, log and boot, without a host."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.roles.base.machine import READY, SLEEP, THING, UNIT, Machine, python, until

pytestmark = pytest.mark.slow


def test_a_service_is_up_when_it_says_so_and_ends_when_told(machine: Machine) -> None:
    code = f"{READY}\nimport time; time.sleep(1); s.send(b'READY=1\\nSTATUS=draws'); {SLEEP}"
    machine.write(replace(THING, program=python(code), ready="notifies"))
    began = time.monotonic()
    done = machine.tell("run", UNIT)
    assert done.returncode == 0, done.stderr + machine.log()
    assert time.monotonic() - began >= 1
    assert machine.state() == {
        **{"Id": UNIT, "LoadState": "loaded", "UnitFileState": "enabled", "ActiveState": "active"},
        "NeedDaemonReload": "no",
    }
    assert machine.tell("is-active", UNIT).returncode == 0
    assert machine.tell("stop", UNIT).returncode == 0
    assert machine.state()["ActiveState"] == "inactive" and "serving" in machine.log()


def test_another_text_is_stale_until_the_restart(machine: Machine) -> None:
    machine.write(replace(THING, program=python(SLEEP)))
    machine.tell("run", UNIT)
    machine.write(replace(THING, program=python(SLEEP), nice=3))
    assert machine.state()["NeedDaemonReload"] == "yes"
    machine.tell("restart", UNIT)
    assert machine.state()["NeedDaemonReload"] == "no"


def test_a_service_that_fails_is_told_at_once_and_given_up_in_the_end(machine: Machine) -> None:
    machine.write(replace(THING, program=python("import sys; sys.exit('no such model')"), ready="notifies"))
    done = machine.tell("run", UNIT)
    assert done.returncode == 1 and "did not start" in done.stderr
    until(lambda: machine.state()["ActiveState"] == "failed")
    assert machine.log().count("no such model") == 3 and "it is not started again" in machine.log()


def test_what_a_service_leaves_behind_ends_with_it(machine: Machine, tmp_path: Path) -> None:
    child = tmp_path / "child"
    leave = f"import subprocess; c = subprocess.Popen(['setsid', 'sleep', '600']); open({str(child)!r}, 'w').write"
    code = f"{leave}(str(c.pid)); {SLEEP}"
    machine.write(replace(THING, program=python(code)))
    machine.tell("run", UNIT)
    until(lambda: child.exists() and bool(child.read_text()))
    machine.tell("stop", UNIT)
    until(lambda: not Path(f"/proc/{child.read_text()}").exists())


def test_a_condition_and_a_last_command_of_an_instance(machine: Machine, tmp_path: Path) -> None:
    template = replace(
        THING,
        unit="lora-train@.service",
        program=(*python("import sys; print('trains', sys.argv, flush=True)"), "%i"),
        restart="no",
        condition=("test", "!", "-e", str(tmp_path / "%i-finished")),
        after=("touch", str(tmp_path / "%i-after")),
    )
    machine.write(template)
    assert machine.tell("enable-now", "lora-train@ink.service").returncode == 0
    until(lambda: (tmp_path / "ink-after").exists())
    assert "'ink'" in machine.log("lora-train@ink.service")
    until(lambda: machine.state("lora-train@ink.service")["ActiveState"] == "inactive")
    (tmp_path / "ink-finished").touch()
    assert machine.tell("start", "lora-train@ink.service").returncode == 0
    assert "its condition says no" in machine.log("lora-train@ink.service")
    assert machine.state("lora-train@ink.service")["UnitFileState"] == "enabled"
    machine.tell("disable", "lora-train@ink.service")


def test_what_is_kept_outlives_a_restart_but_no_stop(machine: Machine) -> None:
    place = machine.run / "thing/state"
    code = f"import os; p = {str(place)!r}; print('was', os.path.exists(p), flush=True); open(p, 'w').close(); {SLEEP}"
    machine.write(replace(THING, program=python(code), runtime_folder="thing", runtime_kept=True))
    machine.tell("run", UNIT)
    until(lambda: place.exists())
    machine.tell("restart", UNIT)
    until(lambda: "was True" in machine.log())
    pid = int(machine.tell("main-process", UNIT).stdout)
    os.kill(pid, signal.SIGKILL)
    until(lambda: machine.log().count("was True") == 2)
    machine.tell("stop", UNIT)
    assert not place.exists()


def test_nothing_of_before_a_stop_of_the_container_is_there_at_a_boot(machine: Machine) -> None:
    place = machine.run / "thing/state"
    machine.write(replace(THING, runtime_folder="thing", runtime_kept=True))
    machine.shut_down()
    place.parent.mkdir()
    place.touch()
    machine.boot()
    assert not place.exists()


def test_what_is_enabled_is_up_again_after_a_boot(machine: Machine) -> None:
    machine.write(replace(THING, program=python(SLEEP)))
    machine.tell("run", UNIT)
    machine.shut_down()
    (machine.run / f"state/{UNIT}.json").write_text(json.dumps({"active": "active", "runner": 1, "since": 1}))
    assert machine.state()["ActiveState"] == "inactive", "what a container that was stopped has left says nothing"
    machine.boot()
    until(lambda: machine.state()["ActiveState"] == "active")


def test_a_boot_after_supervisord_was_killed_ends_the_old_runners(machine: Machine) -> None:
    machine.write(replace(THING, program=python(SLEEP)))
    machine.tell("run", UNIT)
    first = json.loads((machine.run / f"state/{UNIT}.json").read_text())
    pid = int((machine.run / "supervisord.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    until(lambda: machine.tell("serves", str(machine.home)).stdout == "no\n")
    assert (machine.run / "supervisord.sock").exists() and Path(f"/proc/{first['runner']}").exists()
    done = machine.tell("restart", UNIT)
    assert done.returncode == 1 and str(machine.paths.boot) in done.stderr
    machine.boot()
    assert not runs(first["runner"]) and not runs(first["pid"])
    until(lambda: machine.state()["ActiveState"] == "active")
    assert machine.tell("serves", str(machine.home)).stdout == "yes\n"


def test_boots_at_once_and_during_a_shutdown_start_one_supervisord(machine: Machine) -> None:
    code = "import signal, time; signal.signal(15, lambda *_: (time.sleep(2), exit(0)))\nprint('set', flush=True)"
    machine.write(replace(THING, program=python(f"{code}\ntime.sleep(600)")))
    machine.tell("run", UNIT)
    until(lambda: "set" in machine.log())
    old = int((machine.run / "supervisord.pid").read_text())
    os.kill(old, signal.SIGTERM)
    command = [sys.executable, "-I", str(machine.paths.onhost), "supervisor_manager", "boot", str(machine.home)]
    boots = [subprocess.Popen(command) for _ in range(4)]
    assert [each.wait(60) for each in boots] == [0, 0, 0, 0]
    configuration = str(machine.home / "supervisord.conf").encode()
    found = [file.parent.name for file in Path("/proc").glob("[0-9]*/cmdline") if configuration in words_of(file)]
    assert found == [(machine.run / "supervisord.pid").read_text().strip()] and found != [str(old)]
    until(lambda: machine.state()["ActiveState"] == "active")


def words_of(file: Path) -> list[bytes]:
    try:
        return file.read_bytes().split(b"\0")
    except OSError:
        return []


def runs(pid: int) -> bool:
    """Whether a process lives; one that nobody has reaped yet does not."""
    stat = Path(f"/proc/{pid}/stat")
    return pid > 0 and stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_runner_that_cannot_run_is_given_up(machine: Machine) -> None:
    machine.write(replace(THING, program=python(SLEEP)))
    described = Path(machine.manager.file(UNIT))
    described.write_text(described.read_text().replace('"folder"', '"fodler"').replace('"user"', '"uesr"'))
    began = time.monotonic()
    done = machine.tell("run", UNIT)
    assert done.returncode == 1 and "its runner ended" in done.stderr and time.monotonic() - began < 30
    said = (machine.home / f"logs/{UNIT}.runner").read_text()
    assert said.count("Traceback") == 4
    time.sleep(2)
    assert (machine.home / f"logs/{UNIT}.runner").read_text() == said


def test_what_is_started_by_itself_is_waited_for(machine: Machine) -> None:
    """supervisord starts what is enabled when it reads its file: its earlier failure is not the answer."""
    good = python(f"{READY}\ns.send(b'READY=1'); {SLEEP}")
    for seconds in (6, 7, 8):
        machine.write(replace(THING, program=python("import sys; sys.exit(1)"), restart="no"))
        assert machine.tell("run", UNIT).returncode == 1
        machine.write(replace(THING, program=good, ready="notifies", stop_seconds=seconds))
        done = machine.tell("restart", UNIT)
        assert done.returncode == 0, done.stderr
        assert machine.state()["ActiveState"] == "active"


def test_a_start_right_after_the_end_starts_it_again(machine: Machine, tmp_path: Path) -> None:
    machine.write(replace(THING, program=("sh", "-c", f"echo started >>{tmp_path}/starts"), restart="no"))
    for _ in range(3):
        assert machine.tell("start", UNIT).returncode == 0
    until(lambda: (tmp_path / "starts").read_text() == "started\n" * 3)
