"""Lines of known_hosts files: OpenSSH and the engine's client accept and refuse the same keys for the same reason."""

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paramiko
import pytest

from deploy.connection.several import connect
from deploy.connection.ssh import HostError
from deploy.engine import host_keys
from deploy.engine.host_keys import ChangedHostKeyError, RevokedHostKeyError, UnknownHostKeyError
from inventory.load import load
from tests.deploy.ssh_server import Server, line

pytestmark = pytest.mark.slow

OTHER = paramiko.ECDSAKey.generate()
RSA = paramiko.RSAKey.generate(2048)


@dataclass
class World:
    """A server under two names, and a known_hosts file: one that fleet.toml names, or that of the user."""

    folder: Path
    server: Server
    strict: bool = True

    @property
    def known(self) -> Path:
        return self.folder / ("known" if self.strict else "home/.ssh/known_hosts")

    @property
    def fleet(self) -> Path:
        file = self.folder / "fleet.toml"
        known = 'known_hosts = "known"\n' if self.strict else ""
        host = f'address = "{self.server.address}"\nport = {self.server.port}\n'
        file.write_text(f'[fleet]\nname = "a"\nkey = "key"\n{known}[hosts.gpu-1]\n{host}')
        return file

    def by_openssh(self) -> str:
        try:
            with connect(load(self.fleet).hosts.values()) as remotes:
                return remotes["gpu-1"].run(["echo", "reached"], timeout=30).out.strip()
        except HostError as error:
            reasons = {"not the one in": "changed", "@revoked": "revoked", "is not in": "unknown"}
            return next(reason for words, reason in reasons.items() if words in str(error))

    def by_paramiko(self) -> str:
        [login] = load(self.fleet).hosts["gpu-1"].connection.logins
        client = paramiko.SSHClient()

        def transport(sock: Any, **options: Any) -> paramiko.Transport:
            made = paramiko.Transport(sock, **options)
            host_keys.prefer_known_types(made, known)
            return made

        with contextlib.closing(client):
            known = host_keys.trust_known_hosts(client, login)
            try:
                client.connect(
                    login.address, login.port, login.user, key_filename=str(login.key), transport_factory=transport
                )
            except (ChangedHostKeyError, RevokedHostKeyError, UnknownHostKeyError) as error:
                return {ChangedHostKeyError: "changed", RevokedHostKeyError: "revoked"}.get(type(error), "unknown")
        return "reached"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("SSH_AUTH_SOCK", "")
    (tmp_path / "home/.ssh").mkdir(parents=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True)
    allowed = paramiko.Ed25519Key.from_private_key_file(str(tmp_path / "key"))
    with Server("root", allowed).running() as server:
        yield World(tmp_path, server)


def _key(server: Server) -> str:
    return f"{server.host_key.get_name()} {server.host_key.get_base64()}"


Case = tuple[Callable[[Server], str], str, str]
"""A file, and what comes of it: where fleet.toml names it, and where it is the user's own."""

CASES: dict[str, Case] = {
    "its key": (lambda server: server.known, "reached", "reached"),
    "nothing": (lambda server: "", "unknown", "reached"),
    "another key": (lambda server: line(f"[127.0.0.1]:{server.port}", OTHER), "changed", "changed"),
    "another key, of another type": (lambda server: line(f"[127.0.0.1]:{server.port}", RSA), "changed", "changed"),
    "its key, for the address alone": (lambda server: line("127.0.0.1", server.host_key), "reached", "reached"),
    "the key of another machine behind the address": (lambda server: line("127.0.0.1", OTHER), "unknown", "reached"),
    "its key for the address alone, and another for the port": (
        lambda server: line("127.0.0.1", server.host_key) + line(f"[127.0.0.1]:{server.port}", OTHER),
        "changed",
        "changed",
    ),
    "an old key after its key": (
        lambda server: server.known + line(f"[127.0.0.1]:{server.port}", OTHER),
        "reached",
        "reached",
    ),
    "an old key before its key": (
        lambda server: line(f"[127.0.0.1]:{server.port}", OTHER) + server.known,
        "reached",
        "reached",
    ),
    "its key, revoked": (
        lambda server: f"{server.known}@revoked\t[127.0.0.1]:{server.port}\t{_key(server)}\n".replace(" ", "\t"),
        "revoked",
        "revoked",
    ),
    "its key, revoked for all": (lambda server: f"@revoked *  {_key(server)}\n", "revoked", "revoked"),
    "an old key, revoked": (
        lambda server: server.known + "@revoked " + line(f"[127.0.0.1]:{server.port}", OTHER),
        "reached",
        "reached",
    ),
    "only an old key, revoked too": (
        lambda server: (
            line(f"[127.0.0.1]:{server.port}", OTHER) + "@revoked " + line(f"[127.0.0.1]:{server.port}", OTHER)
        ),
        "changed",
        "changed",
    ),
    "an old key, revoked, of a host that is new": (lambda server: "@revoked " + line("*", OTHER), "unknown", "reached"),
    "two blanks between the fields": (
        lambda server: f"  [127.0.0.1]:{server.port}  {_key(server).replace(' ', '   ')}  a comment\n",
        "reached",
        "reached",
    ),
    "tabs between the fields": (lambda server: server.known.replace(" ", "\t"), "reached", "reached"),
    **{
        f"a line that cannot be read: {odd[:22]}": (
            lambda server, odd=odd: odd.replace("HOST", f"[127.0.0.1]:{server.port}") + "\n" + server.known,  # type: ignore[misc]
            "reached",
            "reached",
        )
        for odd in (
            "HOST ssh-rsa !!!bad",
            "HOST 1024 35 12345",
            "HOST ssh-rsa",
            "HOST ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAA",
            "HOST ssh-rsa AAAAB3NzaC1yc2EAAAAD",
            "HOST ssh-nonsense AAAAC3NzaC1lZDI1NTE5AAAAIAAA",
            "HOST ssh-rsa \u00e4\u00f6\u00fc",
            "|1|bad|hash ssh-rsa AAAAB3NzaC1yc2EAAAAD",
            "|2|AAAA| ssh-rsa AAAAB3NzaC1yc2EAAAAD",
            "@",
            "@revoked",
            "@revoked HOST",
            "@revoked HOST ssh-rsa !!!bad",
            "#HOST ssh-rsa !!!bad",
            "\t",
        )
    },
}


@pytest.mark.parametrize("case", CASES)
def test_both_decide_alike(case: str, world: World) -> None:
    text, strict, lax = CASES[case]
    for world.strict, expected in ((True, strict), (False, lax)):
        for way in (world.by_openssh, world.by_paramiko):
            world.known.write_text(text(world.server))
            assert way() == expected, (way.__name__, world.strict)


def test_machines_behind_one_address_keep_their_keys_apart(world: World) -> None:
    world.strict = False
    world.known.write_text(line("127.0.0.1", OTHER).rstrip())  # an editor left out the end of the last line
    with Server("root", world.server.allowed).running() as second:
        for server in (world.server, second):
            world.server = server
            assert [world.by_paramiko(), world.by_openssh(), world.by_paramiko()] == ["reached"] * 3
        kept = world.known.read_text().splitlines()
        assert kept[0] == line("127.0.0.1", OTHER).rstrip() and len(kept) == 3
        second.host_key = paramiko.ECDSAKey.generate()
        assert [world.by_paramiko(), world.by_openssh()] == ["changed"] * 2


def test_a_known_key_without_its_port_is_not_saved_again(world: World) -> None:
    world.strict = False
    world.known.write_text(line("127.0.0.1", world.server.host_key))
    assert world.by_paramiko() == "reached"
    assert world.known.read_text() == line("127.0.0.1", world.server.host_key)


@pytest.mark.parametrize("hashed", [False, True])
def test_a_name_in_capitals_is_the_same_name(hashed: bool, world: World) -> None:
    """Otherwise its changed key would be taken for that of a new host."""
    world.server.address = "LocalHost"
    for strict in (True, False):
        world.strict = strict
        for key, expected in ((world.server.host_key, "reached"), (OTHER, "changed")):
            world.known.write_text(line(f"[localhost]:{world.server.port}", key))
            if hashed:
                subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(world.known)], check=True, capture_output=True)
            assert [world.by_paramiko(), world.by_openssh()] == [expected] * 2


@pytest.mark.parametrize("key", [RSA, OTHER])
def test_a_host_with_keys_of_several_types_is_asked_for_one_that_is_known(key: paramiko.PKey, world: World) -> None:
    world.server.host_key = paramiko.Ed25519Key.from_private_key_file(str(world.folder / "key"))
    world.server.further_keys = [RSA, OTHER]
    world.known.write_text(line(f"[127.0.0.1]:{world.server.port}", key))
    assert [world.by_openssh(), world.by_paramiko()] == ["reached"] * 2
