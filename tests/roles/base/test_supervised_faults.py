"""Services below a real supervisord when something fails: a full disk, a killed runner, children that flee."""

import errno
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from roles.onhost import unit_log
from tests.roles.base.machine import READY, SLEEP, THING, UNIT, Machine, python, until

pytestmark = pytest.mark.slow


def test_a_state_that_cannot_be_written_ends_no_service(machine: Machine, tmp_path: Path) -> None:
    code = f"{READY}\ns.send(b'READY=1')\nimport time\nopen({str(tmp_path / 'pids')!r}, 'a').write('pid\\n')\n"
    code += f"while not os.path.exists({str(tmp_path / 'go')!r}): time.sleep(0.05)\ns.send(b'STATUS=draws'); {SLEEP}"
    machine.write(replace(THING, program=python(code), ready="notifies"))
    machine.tell("run", UNIT)
    states = machine.run / "state"
    states.rename(machine.run / "aside")
    states.touch()
    (tmp_path / "go").touch()
    until(lambda: "serving" in machine.log())
    time.sleep(1)
    assert "cannot be started" not in machine.log()
    states.unlink()
    until(lambda: (states / f"{UNIT}.json").exists() and "draws" in (states / f"{UNIT}.json").read_text())
    assert (tmp_path / "pids").read_text() == "pid\n"
    assert machine.state()["ActiveState"] == "active"


def test_a_program_ends_when_its_start_fails_beside_it(machine: Machine, tmp_path: Path) -> None:
    code = f"import os; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); {SLEEP}"
    machine.write(replace(THING, program=python(code), answers=("/no/such/program",), restart="no"))
    machine.tell("run", UNIT)
    until(lambda: machine.state()["ActiveState"] == "failed")
    pid = (tmp_path / "pid").read_text() if (tmp_path / "pid").exists() else ""
    assert "cannot be started" in machine.log() and not (pid and Path(f"/proc/{pid}").exists())


def test_a_full_disk_does_not_end_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit_log, "LARGEST", 10)
    log = unit_log.UnitLog(tmp_path / "logs/a.log")
    log.say("before")
    opened = Path.open

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "open", full)
    log.say("full")
    log.say("still full")
    monkeypatch.setattr(Path, "open", opened)
    log.say("after")
    assert [line.text for line in unit_log.read(log.file)] == ["before", "full", "still full", "after"]


def test_a_log_that_cannot_be_opened_is_opened_later(tmp_path: Path) -> None:
    (tmp_path / "logs").touch()
    log = unit_log.UnitLog(tmp_path / "logs/a.log")
    log.say("lost")
    (tmp_path / "logs").unlink()
    log.say("kept")
    assert [line.text for line in unit_log.read(log.file)] == ["kept"]
