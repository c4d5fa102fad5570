"""What systemd's programs print, as programs on hosts understand it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.onhost import examine, manage
from roles.onhost import commands, init, journal, systemd_manager

TREE = Path(__file__).resolve().parents[2]

Program = Callable[[str, str], None]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Writes a shell script that stands in for a program."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(init, "BOOTED", tmp_path)

    def write(name: str, text: str) -> None:
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)

    return write


CHANGED = "Warning: The unit file of x.service changed on disk. Run 'systemctl daemon-reload' to reload units."
SEE = 'See "systemctl status x.service" and "journalctl -xeu x.service" for details.'
FAILED = "Job for x.service failed because the control process exited with error code."
FULL = "Failed to enable unit: File x.service: No space left on device"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ([CHANGED, FAILED, SEE], FAILED),
        ([CHANGED, FAILED, FULL, SEE], FULL),
        ([CHANGED, SEE], "it ended with status 1"),
        ([], "it ended with status 1"),
    ],
)
def test_the_reason_of_a_failed_change_is_told(program: Program, said: list[str], why: str) -> None:
    program("systemctl", "\n".join(["cat >&2 <<'END'", *said, "END", "exit 1"]))
    assert manage.main("start", ["x.service"]) == why


def test_a_shown_log_ends_with_its_reader(program: Program) -> None:
    program("journalctl", "grep SigIgn /proc/self/status")
    show = "from roles.onhost import systemd_manager; systemd_manager.show('x.service', 5, True)"
    shown = subprocess.run([sys.executable, "-c", show], cwd=TREE, capture_output=True, text=True, check=True).stdout
    ignored = int(shown.split()[1], 16)
    assert not ignored & 1 << 12, "SIGPIPE, number 13"


# As systemd's own: with --since it prints the first --lines after that time, with --reverse the last, newest first.
JOURNALCTL = """
case "$*" in
  *--reverse*) tac "$0.lines" | head -n 2 ;;
  *--since*) head -n 2 "$0.lines" ;;
  *) tail -n 2 "$0.lines" ;;
esac
"""


def test_the_last_lines_since_a_time_are_the_last(program: Program, tmp_path: Path) -> None:
    program("journalctl", JOURNALCTL)
    (tmp_path / "journalctl.lines").write_text("one\ntwo\nthree\n")
    assert systemd_manager.lines("x.service", 2, since=1.0) == ["two", "three"]
    assert systemd_manager.lines("x.service", 2) == ["two", "three"]
    assert systemd_manager.own_log(2) == ["two", "three"]


def test_a_journal_on_a_slow_disk_is_waited_for(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the doctor, and for the reason why a service failed."""
    monkeypatch.setattr(commands, "SECONDS", 0.2)
    program("systemctl", "sleep 0.5; echo x.service")
    program("journalctl", "sleep 0.5; echo ValueError: why")
    assert journal.last_words("x.service", 1.0) == "ValueError: why"
    assert examine._failed() == {"x.service": "ValueError: why"}
    assert systemd_manager.host_log(5) == systemd_manager.own_log(5) == ["ValueError: why"]
    assert systemd_manager.lines("x.service", 5) == []
