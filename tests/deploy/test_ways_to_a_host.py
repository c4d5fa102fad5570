"""Each way to a host, walked by pyinfra's connector (apply) and by OpenSSH (all other verbs): both behave alike."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paramiko
import pytest

from deploy import shell
from deploy.connection import keys
from deploy.connection.several import connect
from deploy.connection.ssh import HostError
from inventory.load import load
from tests.deploy.ssh_server import Server
from tests.deploy.test_keys import by_file

pytestmark = pytest.mark.slow

TREE = Path(__file__).resolve().parents[2]
PASSPHRASE = "open sesame"

ENGINE = """
from deploy.engine import process
from deploy.engine.output import emit, host_name
from pyinfra.context import host
from pyinfra.operations import server
from deploy.engine.events import Log

def declare(_):
    good, output = host.run_shell_command("echo reached")
    emit(Log(host=host_name(host), level=20, text=output.stdout))
    server.shell(name="Change it", commands=["echo changing"])

process.main(declare)
"""


@dataclass
class World:
    """Three servers, a key that all let in, and somebody's files."""

    folder: Path
    key: Path
    host: Server
    first: Server
    second: Server
    agent: keys.OpenedKey
    fleet: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def known(self, *servers: Server) -> None:
        (self.folder / "known").write_text("".join(server.known for server in servers))

    def write(self) -> Path:
        file = self.folder / "fleet.toml"
        address = [f'address = "{self.host.address}"', f"port = {self.host.port}"]
        text = ["[fleet]", 'name = "a"', 'known_hosts = "known"', *self.fleet, "[hosts.gpu-1]", *address, *self.lines]
        file.write_text("\n".join(text) + "\n")
        return file

    def by_openssh(self) -> str:
        """What an OpenSSH verb gets to hear: "reached", or why not."""
        try:
            with connect(load(self.write()).hosts.values()) as remotes:
                return remotes["gpu-1"].run(["echo", "reached"], timeout=30).out.strip()
        except HostError as error:
            assert error.unreachable
            return str(error)

    def events(self, apply: bool) -> list[dict[str, Any]]:
        """What the engine reports of a run."""
        fleet = load(self.write())
        opened = [json.loads(key.model_dump_json()) for key in keys.opened([fleet.hosts["gpu-1"].connection])]
        request = {"fleet": str(fleet.file), "hosts": ["gpu-1"], "roles": ["base"], "apply": apply, "keys": opened}
        process = subprocess.Popen(
            [sys.executable, "-c", ENGINE], cwd=TREE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdin and process.stdout
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        events = [json.loads(line) for line in process.stdout]
        process.stdin.close()
        process.wait(30)
        return events

    def by_pyinfra(self) -> str:
        """What the engine gets to hear."""
        events = self.events(apply=False)
        [result] = [event for event in events if event["event"] == "result"]
        if result["status"] != "ok":
            assert result["status"] == "unreachable", json.dumps(result)
            return str(result["error"])
        return next(str(event["text"]) for event in events if event["event"] == "log" and event["text"] == "reached")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """All servers up and known, nobody's agent, and a key that is named in fleet.toml."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setattr(keys, "_RING", keys._Ring())
    key, shut = tmp_path / "key", tmp_path / "shut"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    shut.write_bytes(key.read_bytes())
    shut.chmod(0o600)
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", PASSPHRASE, "-f", str(shut)], check=True)
    allowed = paramiko.Ed25519Key.from_private_key_file(str(key))
    with ExitStack() as stack:
        host, first, second = (
            stack.enter_context(Server(user, allowed, address).running())
            for user, address in (("root", "127.0.0.1"), ("hopper", "127.0.0.1"), ("other", "::1"))
        )
        [agent] = keys.opened([by_file(tmp_path, shut, PASSPHRASE)])
        monkeypatch.setattr(keys, "_RING", keys._Ring())
        made = World(tmp_path, key, host, first, second, agent)
        made.known(host, first, second)
        made.fleet = ['key = "key"']
        yield made


def _agent(world: World) -> None:
    os.environ["SSH_AUTH_SOCK"] = str(world.agent.agent)  # HOME and this go back with the fixture
    world.fleet = []


def _shut_key(world: World) -> None:
    world.fleet = ['key = "shut"', 'key_passphrase = { file = "passphrase" }']


def _shut_key_in_agent(world: World) -> None:
    os.environ["SSH_AUTH_SOCK"] = str(world.agent.agent)
    world.fleet = ['key = "shut"']


def _jump(world: World) -> None:
    world.lines = [f'jump = "hopper@127.0.0.1:{world.first.port}"']


def _chain(world: World) -> None:
    _jump(world)
    world.lines = [f'jump = "hopper@127.0.0.1:{world.first.port}, other@[::1]:{world.second.port}"']


def _chain_with_shut_key(world: World) -> None:
    _chain(world)
    _shut_key(world)


def _hashed(world: World) -> None:
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(world.folder / "known")], check=True, capture_output=True)


def _by_pattern(world: World) -> None:
    (world.folder / "known").write_text(world.host.known.replace("[127.0.0.1]", "[10.*]:*,![127.0.0.2]:*,[127.0.?.1]"))


def _without_port(world: World) -> None:
    (world.folder / "known").write_text(world.host.known.replace(f"[127.0.0.1]:{world.host.port}", "127.0.0.1"))


def _one_of_several_types(world: World) -> None:
    world.host.further_keys = [paramiko.Ed25519Key.from_private_key_file(str(world.key))]


WAYS: dict[str, Callable[[World], None]] = {
    "a key": lambda world: None,
    "the agent": _agent,
    "a key with a passphrase": _shut_key,
    "a key with a passphrase that the agent has": _shut_key_in_agent,
    "a jump host with another user and port": _jump,
    "a chain whose second hop is bare IPv6": _chain,
    "a chain, by a key with a passphrase": _chain_with_shut_key,
    "a hashed name": _hashed,
    "a pattern": _by_pattern,
    "an address that is known without its port": _without_port,
    "a host with another key, of a type that is preferred": _one_of_several_types,
}


def some_at_each_save(cases: Iterable[str], quick: str) -> list[Any]:
    """The cases: `quick` runs at each save, the others with the slow tests, as each starts the engine."""
    return [pytest.param(case, marks=() if case == quick else pytest.mark.slow) for case in cases]


@pytest.mark.parametrize("way", some_at_each_save(WAYS, "a chain, by a key with a passphrase"))
def test_both_reach_the_host(way: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "")
    WAYS[way](world)
    for walk in (world.by_openssh, world.by_pyinfra):
        assert walk() == "reached"
        passed = [bool(server.logins) for server in (world.first, world.second, world.host)]
        assert passed == ["jump" in str(world.lines), "::1" in str(world.lines), True]
        for server in (world.first, world.second, world.host):
            server.logins.clear()


def test_exec_and_ssh_take_the_same_way(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    _chain_with_shut_key(world)
    hosts = list(load(world.write()).hosts.values())
    assert shell.on_all(hosts, ["echo reached; exit 0"], root=False) == 0
    assert capfd.readouterr().out == "gpu-1  reached\n"
    assert shell.session(hosts[0], ["echo", "there  too"]) == 0
    assert capfd.readouterr().out == "there  too\n"
    assert world.second.logins and world.host.logins


def _unknown(world: World) -> str:
    world.known()
    return (
        "its host key is not in {folder}/known; compare it with `ssh-keyscan -p {port} 127.0.0.1`, or accept it: "
        "sdfleet trust gpu-1"
    )


def _changed(world: World) -> str:
    wrong = Server("x", world.host.allowed, port=world.host.port)
    world.known(wrong)
    return (
        "its host key is not the one in {folder}/known, so it may be another machine; if you reinstalled it, "
        "run: sdfleet trust gpu-1 --replace-host-key"
    )


def _other_type(world: World) -> str:
    rsa = paramiko.RSAKey.generate(2048)
    world.known(Server("x", world.host.allowed, port=world.host.port, host_key=rsa))
    return "its host key is not "


def _unknown_hop(world: World) -> str:
    _jump(world)
    world.known(world.host)
    return "gpu-1 (jump host hopper@127.0.0.1:{first}): its host key is not in {folder}/known; "


def _changed_hop(world: World) -> str:
    _chain(world)
    world.known(world.host, world.first, Server("x", world.host.allowed, "::1", port=world.second.port))
    return "gpu-1 (jump host other@[::1]:{second}): its host key is not the one in {folder}/known, "


def _another_key(world: World) -> str:
    world.key.unlink()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(world.folder / "new")], check=True)
    world.fleet = ['key = "new"']
    return "gpu-1 (root@127.0.0.1:{port}): login refused: the key {folder}/new is not accepted for root; "


def _nobody(world: World) -> str:
    world.lines = ['jump = "hopper@127.0.0.1:9"']
    return "gpu-1 (root@127.0.0.1:{port}): cannot be reached through the jump host hopper@127.0.0.1:9: "


def _revoked(world: World) -> str:
    (world.folder / "known").write_text(f"{world.host.known}@revoked * {world.host.known.split(None, 1)[1]}")
    return "its host key is marked @revoked in {folder}/known, so it may be another machine; if it has a new key, "


def _excluded(world: World) -> str:
    (world.folder / "known").write_text(f"*,![127.*]:*,!127.* {world.host.known.split(None, 1)[1]}")
    return "its host key is not in {folder}/known; "


REFUSALS = {
    "revoked": _revoked,
    "excluded by a pattern": _excluded,
    "unknown": _unknown,
    "changed": _changed,
    "of another type": _other_type,
    "an unknown hop": _unknown_hop,
    "a changed hop": _changed_hop,
    "another key": _another_key,
    "nobody there": _nobody,
}


@pytest.mark.parametrize("case", some_at_each_save(REFUSALS, "a changed hop"))
def test_both_refuse_with_the_same_sentence(case: str, world: World) -> None:
    words = REFUSALS[case](world)
    ports = {"port": world.host.port, "first": world.first.port, "second": world.second.port}
    expected = words.format(folder=world.folder, **ports)
    one, other = world.by_openssh(), world.by_pyinfra()
    assert expected in one
    assert expected in other
    if case != "nobody there":
        assert one == other


def test_an_authority_alone_is_named_by_apply_which_cannot_check_it(world: World) -> None:
    (world.folder / "known").write_text(f"@cert-authority * {world.host.known.split(None, 1)[1]}")
    said = world.by_pyinfra()
    assert f"{world.folder}/known has only an @cert-authority for it, which plan, apply and update cannot check" in said
    assert f"ssh-keyscan -p {world.host.port} 127.0.0.1 >>{world.folder}/known" in said


def test_a_name_that_only_an_ssh_configuration_knows_is_named_as_that(world: World) -> None:
    file = world.write()
    file.write_text(file.read_text().replace("127.0.0.1", "gpu-box.invalid"))
    world.write = lambda: file  # type: ignore[method-assign]
    for said in (world.by_openssh(), world.by_pyinfra()):
        assert "~/.ssh/config, which is not read, write HostName, Port, User, IdentityFile and ProxyJump as" in said


LOST = {
    "while its lock is taken": (
        {},
        {"sdfleet.lock": ""},
        "the connection was lost before it said whether its lock is free",
    ),
    "while its lock is waited for": (
        {},
        {"sdfleet.lock": "waits `sdfleet apply` of ops@pc, which has ended,\n"},
        "the connection was lost before it said whether its lock is free",
    ),
    "while it is read": ({"sdfleet.lock": "taken\n"}, {"echo reached": ""}, "the connection was lost ("),
    "while it is changed": (
        {"sdfleet.lock": "taken\n"},
        {"echo changing": "half a"},
        "the connection was lost (Change it: ",
    ),
}
"""When a connection is lost -> what the host answers before, the last that it says, and what a person is told."""


@pytest.mark.parametrize("when", some_at_each_save(LOST, "while its lock is taken"))
def test_a_connection_that_is_lost_names_the_host_and_what_to_do(when: str, world: World) -> None:
    world.host.answers, world.host.cuts, said = LOST[when]
    [result] = [event for event in world.events(apply=True) if event["event"] == "result"]
    place = f"gpu-1 (root@127.0.0.1:{world.host.port})"
    assert result["error"].startswith(f"{place}: cannot be reached: {said}"), result
    assert result["error"].endswith("; check address, port, firewall, and that the host is up")
    assert result["status"] == "unreachable"


@pytest.mark.slow
def test_both_keep_the_key_of_a_new_host_where_no_file_is_named(world: World) -> None:
    text = world.write().read_text().replace('known_hosts = "known"\n', "")
    home = world.folder / "home"
    for way in ("openssh", "pyinfra"):
        (home / ".ssh").mkdir(parents=True, exist_ok=True)
        (home / ".ssh/known_hosts").unlink(missing_ok=True)
        world.write = lambda: _written(world.folder / "fleet.toml", text)  # type: ignore[method-assign]
        assert getattr(world, f"by_{way}")() == "reached"
        kept = (home / ".ssh/known_hosts").read_text()
        assert f"[127.0.0.1]:{world.host.port} " in kept and world.host.host_key.get_base64() in kept


def _written(file: Path, text: str) -> Path:
    file.write_text(text)
    return file
