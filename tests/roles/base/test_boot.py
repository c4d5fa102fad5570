"""What a provider runs at each start of a container, and what starts with it."""

import subprocess
from pathlib import Path, PurePosixPath

import pytest
from pyinfra.api.exceptions import DeployError

from roles.base.boot import start_from
from roles.facts.init import Init
from roles.facts.seen import Entry, HostSurvey
from roles.paths import Paths
from tests.roles.declared import declared

HOOK = PurePosixPath("/root/onstart.sh")
PATHS = Paths(root=PurePosixPath("/workspace/sdfleet"))
OURS = "/workspace/sdfleet/boot.sh || true  # sdfleet"


def commands(seen: HostSurvey, hook: PurePosixPath = HOOK) -> list[str]:
    """What an apply runs on a host of which that is known."""
    return [command for its in declared(lambda: start_from(hook, PATHS, seen)).values() for command in its]


def seen_of(file: Path) -> HostSurvey:
    entry = Entry("f", "root", "root", file.stat().st_mode & 0o7777)
    return HostSurvey({str(file): entry}, {str(file): file.read_bytes().decode(errors="replace")})


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (b"#!/bin/bash\nset -e\nexec sleep 1\n", f"#!/bin/bash\n{OURS}\nset -e\nexec sleep 1\n".encode()),
        (b"jupyter &\nexit 0", f"{OURS}\njupyter &\nexit 0".encode()),
        (b"#!/bin/bash\nexit 0\n/old/boot.sh  # sdfleet\n", f"#!/bin/bash\n{OURS}\nexit 0\n".encode()),
        (b"#!/bin/sh\necho \xc4\xd0 \xff\x0b\r\n", f"#!/bin/sh\n{OURS}\n".encode() + b"echo \xc4\xd0 \xff\x0b\r\n"),
        (b"", f"#!/bin/bash\n{OURS}\n".encode()),
    ],
)
@pytest.mark.parametrize("mode", [0o755, 0o700, 0o600])
def test_our_line_comes_before_a_providers_own(text: bytes, wanted: bytes, mode: int, tmp_path: Path) -> None:
    file = tmp_path / "on start.sh"
    file.write_bytes(text)
    file.chmod(mode)
    [command] = commands(seen_of(file), PurePosixPath(file))
    assert "jupyter" not in command and "exec" not in command, "a plan shows nothing of the user's"
    subprocess.run(["sh", "-c", command], check=True)
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (wanted, mode | 0o100)
    assert commands(seen_of(file), PurePosixPath(file)) == [], "a second apply changes nothing"
    file.chmod(0o600)
    [command] = commands(seen_of(file), PurePosixPath(file))
    subprocess.run(["sh", "-c", command], check=True)
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (wanted, 0o700)


def test_where_there_is_none_it_is_made() -> None:
    [command] = commands(HostSurvey())
    assert "chmod 755 /root/onstart.sh.sdfleet-new" in command


def test_a_link_in_its_place_is_refused() -> None:
    seen = HostSurvey({str(HOOK): Entry("l", "root", "root", 0o777, "/workspace/onstart.sh")})
    with pytest.raises(DeployError, match=r"/root/onstart\.sh.* is no plain file.*/workspace/sdfleet/boot.sh"):
        commands(seen)


def test_a_host_that_does_not_say_what_its_init_is_has_systemd() -> None:
    assert Init.default() == Init().process([]) == Init().process(["sh: not found"]) == "systemd"
    assert Init().process(["supervisor"]) == "supervisor"
