"""The road for those whom a server lets in as an ordinary user who may sudo, and for servers behind a jump host."""

import re
import subprocess

import pytest
import tomlkit

from lab.network import host_address
from tests.e2e.conftest import Road

pytestmark = pytest.mark.lab

USER = "ops"
WELCOME = f"""
id {USER} 2>/dev/null || useradd --create-home --shell /bin/bash {USER}
install -d -m 700 -o {USER} -g {USER} /home/{USER}/.ssh
install -m 600 -o {USER} -g {USER} /root/.ssh/authorized_keys /home/{USER}/.ssh/authorized_keys
echo '{USER} ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/{USER} && chmod 440 /etc/sudoers.d/{USER}
"""


@pytest.fixture(scope="module")
def behind(road: Road) -> Road:
    """The same hosts for an ordinary user, h2 at an address that only h1 can reach."""
    for host in ("h1", "h2"):
        road.on(host, WELCOME)
    folder = road.folder / "behind"
    folder.mkdir(exist_ok=True)
    fleet = tomlkit.parse(road.file.read_text())
    first, second = (fleet["hosts"][name] for name in ("h1", "h2"))
    fleet["fleet"] |= {"user": USER}
    second |= {"address": host_address(2), "port": 22, "jump": f"{USER}@{first['address']}:{first['port']}"}
    (folder / "fleet.toml").write_text(tomlkit.dumps(fleet))
    for file in road.folder.glob("*.lock*"):
        (folder / file.name).write_bytes(file.read_bytes())
    return Road(road.lab, folder)


def test_nothing_is_left_to_do_for_them(behind: Road) -> None:
    done = behind.sdfleet("apply")
    assert done.code == 0, done.text
    assert {done.cell(host, "changed") for host in ("h1", "h2")} == {"0"}, done.text


def test_damage_is_found_and_mended(behind: Road) -> None:
    behind.on("h2", "systemctl stop sdfleet-webui; rm -r /etc/sdfleet")
    assert behind.sdfleet("verify", "--limit", "h2").code == 3
    mended = behind.sdfleet("apply", "--limit", "h2")
    assert mended.code == 0, mended.text
    good = behind.sdfleet("verify")
    assert good.code == 0, good.text


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("status",), r"h2 +yes"),
        (("models", "list"), r"h1 h2"),
        (("train", "list"), ""),
        (("doctor",), "h2"),
        (("releases",), "h2"),
        (("logs", "h2"), "sdfleet"),
    ],
)
def test_every_look_works(command: tuple[str, ...], says: str, behind: Road) -> None:
    done = behind.sdfleet(*command)
    assert done.code in (0, 3), done.text
    assert re.search(says, done.text), done.text


def test_without_sudo_the_error_says_so(behind: Road) -> None:
    behind.on("h1", f"rm /etc/sudoers.d/{USER}")
    try:
        for verb in ("apply", "verify", "status"):
            done = behind.sdfleet(verb, "--limit", "h1")
            assert done.code == 1, done.text
            assert f"{USER} needs sudo: set hosts.h1.sudo_password" in done.text, done.text
            assert "Traceback" not in done.text
    finally:
        behind.on("h1", WELCOME)


def test_a_dead_jump_host_is_named(behind: Road) -> None:
    fleet = tomlkit.parse(behind.file.read_text())
    fleet["hosts"]["h2"]["jump"] = f"{USER}@127.0.0.1:9"
    dead = behind.folder / "dead.toml"
    dead.write_text(tomlkit.dumps(fleet))
    (behind.folder / "dead.lock").write_bytes((behind.folder / "fleet.lock").read_bytes())
    done = behind.sdfleet("apply", "--limit", "h2", "--fleet", str(dead))
    assert done.code == 1 and f"through the jump host {USER}@127.0.0.1:9" in done.text, done.text


def test_the_address_is_reached_over_the_jump_host_alone(behind: Road) -> None:
    direct = subprocess.run(["ssh-keyscan", "-T", "2", host_address(2)], capture_output=True, text=True)
    assert not direct.stdout, "the lab lets this machine reach h2 directly, so the tests above proved nothing"
