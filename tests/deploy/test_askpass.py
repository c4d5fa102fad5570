"""A sudo that asks for a password: how it gets it, and where the password is never seen."""

import os
import subprocess
import time
from pathlib import Path, PurePosixPath

import pytest

from deploy.connection import askpass, hostlock
from inventory.connection import Connection
from inventory.load import load
from inventory.secrets import SecretReference

PASSWORD = "5ecret canary"
SUDO = """#!/bin/sh
[ "$1" = -n ] && { echo 'sudo: a password is required' >&2; exit 1; }
while [ "$1" != -- ]; do shift; done; shift
[ "$("$SUDO_ASKPASS")" = '5ecret canary' ] || { echo 'sudo: 3 incorrect password attempts' >&2; exit 1; }
exec "$@"
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PurePosixPath:
    """A folder for the password, on a machine whose sudo wants it."""
    (tmp_path / "sudo").write_text(SUDO)
    (tmp_path / "sudo").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return PurePosixPath(tmp_path / "lent")


def test_sudo_asks_a_program_that_goes_with_the_connection(place: PurePosixPath) -> None:
    lent = askpass.Lent([], askpass.command(place), PASSWORD)
    assert lent.answer == askpass.READY
    assert [(path.stat().st_mode & 0o077) for path in (Path(place), *Path(place).iterdir())] == [0, 0, 0]
    words = askpass.sudo(Connection(address="a", user="ops"), askpass.program(place))
    done = subprocess.run([*words, "cat"], input=b"stdin is the command's", capture_output=True)
    assert (done.returncode, done.stdout) == (0, b"stdin is the command's")
    told = subprocess.run(["ps", "-eww", "-o", "args"], capture_output=True, text=True, check=True).stdout
    assert not any(PASSWORD in line for line in told.splitlines() if "pytest" not in line)
    lent.end()
    assert not Path(place).exists()


def test_a_killed_controller_leaves_nothing(place: PurePosixPath) -> None:
    lent = askpass.Lent([], askpass.command(place), PASSWORD)
    assert lent._process.stdin
    lent._process.stdin.close()
    deadline = time.monotonic() + 5
    while Path(place).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(place).exists()
    lent._process.stdin = None
    lent.end()


def test_a_wrong_password_is_told_and_nothing_stays(place: PurePosixPath) -> None:
    lent = askpass.Lent([], askpass.command(place), "other")
    assert lent.answer == askpass.REFUSED
    assert "incorrect password" in lent.end()[1]
    assert not Path(place).exists()


def test_who_needs_no_password_is_not_asked() -> None:
    assert askpass.sudo(Connection(address="a"), None) == []
    assert askpass.sudo(Connection(address="a", user="ops"), None) == ["sudo", "-n", "--"]
    line = hostlock.shell("apply", askpass.sudo(Connection(address="a", user="ops"), PurePosixPath("/dev/shm/x/ask")))
    assert line.startswith("env SUDO_ASKPASS=/dev/shm/x/ask sudo -A -- bash -c ")


def test_the_host_wins_over_its_groups_and_those_over_the_fleet(tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text(
        '[fleet]\nname = "s"\nuser = "ops"\nsudo_password = { env = "ONE" }\n'
        '[groups.train]\nsudo_password = { file = "two" }\n'
        '[hosts.a]\naddress = "a.example"\ngroups = ["webui"]\n'
        '[hosts.b]\naddress = "b.example"\n'
        '[hosts.c]\naddress = "c.example"\nsudo_password = { command = ["pass", "c"] }\n'
    )
    found = {name: host.connection.sudo_password for name, host in load(file).hosts.items()}
    assert found == {
        "a": SecretReference(env="ONE"),
        "b": SecretReference(file=tmp_path / "two"),
        "c": SecretReference(command=("pass", "c")),
    }
