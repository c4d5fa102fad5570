"""The log of a service below supervisord, as `sdfleet logs` shows it."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from roles.onhost import unit_log
from roles.onhost.supervisor_logs import Follower

UNIT = "sdfleet-thing.service"
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[unit_log.UnitLog]:
    (tmp_path / "logs").mkdir()
    yield unit_log.UnitLog(tmp_path / f"logs/{UNIT}.log")


def texts(followed: Follower) -> list[str]:
    return [line.text for line in followed.fresh()]


def test_each_line_is_followed_once_through_the_change_of_files(
    log: unit_log.UnitLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unit_log, "LARGEST", 100)
    log.say("before")
    followed = Follower(log.file)
    assert texts(followed) == []
    said = [f"line {number}" for number in range(30)]
    seen = []
    for number, line in enumerate(said):
        log.say(line)
        if number % 3 == 0:
            seen += texts(followed)
    assert seen + texts(followed) == said and log.file.with_name(f"{log.file.name}.1").exists()


def test_half_a_line_waits_for_its_end(log: unit_log.UnitLog) -> None:
    followed = Follower(log.file)
    assert texts(followed) == [], "there is no log yet"
    log.file.write_text("1.0 a half")
    assert texts(followed) == []
    with log.file.open("a") as more:
        more.write(" a line\n")
    assert texts(followed) == ["half a line"]


def test_nothing_goes_on_reading_when_nobody_listens(log: unit_log.UnitLog) -> None:
    log.say("one")
    code = "import sys; from pathlib import Path; from roles.onhost import supervisor, supervisor_logs as logs; "
    code += f"supervisor.HOME = Path({str(log.file.parents[1])!r}); logs.show({UNIT!r}, 5, True)"
    words = [sys.executable, "-c", code]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as shown:
        assert shown.stdout and shown.stderr
        assert shown.stdout.readline().endswith("sdfleet-thing.service: one\n")
        log.say("two")
        assert shown.stdout.readline().endswith(": two\n")
        began = time.monotonic()
        shown.stdout.close()
        assert shown.wait(20) == 0 and time.monotonic() - began < 10
        assert shown.stderr.read() == ""
