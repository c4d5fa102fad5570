"""The way into rented containers: a pasted line and a password, and what changes when a container is made anew."""

import contextlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import tomlkit

from deploy.connection.several import connect
from deploy.connection.ssh import HostError
from deploy.onhost import stop_host
from inventory.load import load
from lab import box
from lab.state import Rented
from tests.e2e.conftest import Road
from tests.typed import Done

pytestmark = pytest.mark.lab

AUTODL, RUNPOD, VAST = "c1", "c2", "c3"
KINDS = (Rented(provider="autodl"), Rented(provider="runpod"), Rented(provider="vast", sftp=False))
EACH = pytest.mark.parametrize("name", [AUTODL, RUNPOD, VAST])
ROOT = "/workspace/sdfleet"
PASSWORD = "RENTED_PASSWORD"
"""The variable that has it, in the runs of `sdfleet trust` alone."""


@pytest.fixture(scope="module")
def rented(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    """A container of each provider, as its customer first sees it."""
    folder = tmp_path_factory.mktemp("rented")
    with box.attached(hosts=0, containers=KINDS) as running:
        made = Road(running, folder)
        box.write_fleet(running, made.file, fleet={"data_root": ROOT})
        document = tomlkit.parse(made.file.read_text())
        for host in document["hosts"].values():
            host["password"] = {"env": PASSWORD}
        made.file.write_text(tomlkit.dumps(document))
        yield made


@pytest.fixture(scope="module")
def trusted(rented: Road) -> Road:
    """The same, each with a key that `sdfleet trust` has left."""
    before = rented.sdfleet("status")
    assert before.code == 1, before.text
    for host in rented.lab.hosts:
        assert f"or accept it: sdfleet trust {host.name}" in before.text
        done = with_password(rented, host.name, "trust", host.name)
        assert done.code == 0 and "Its password is no longer needed." in done.text, done.text
    return rented


def with_password(road: Road, name: str, *arguments: str) -> Done:
    """Run the program with a container's password in the environment."""
    return road.sdfleet(*arguments, **{PASSWORD: road.lab.folder.password(name).read_text().strip()})


def addressed(road: Road, name: str, address: str) -> str:
    """Change a host's address in fleet.toml; returns the old one."""
    document = tomlkit.parse(road.file.read_text())
    table = document["hosts"][name]
    old, table["address"] = str(table["address"]), address
    road.file.write_text(tomlkit.dumps(document))
    return old


def command_in(sentence: str, option: str) -> list[str]:
    """The arguments of the command that a sentence offers."""
    found = re.search(rf"run: sdfleet (trust \S+ {option}('[^']*')?)", sentence)
    assert found, sentence
    return shlex.split(found[1])


@EACH
def test_every_verb_gets_in_by_key(trusted: Road, name: str) -> None:
    for verb in (["plan", "--limit", name, "--role", "base"], ["status", "--limit", name]):
        done = trusted.sdfleet(*verb)
        assert done.code == 0, done.text
    told = trusted.sdfleet("doctor", name).text
    assert "reachable: as root, with root rights" in told and "a container of" in told


@EACH
def test_all_that_sends_files_works_without_sftp(trusted: Road, name: str, tmp_path: Path) -> None:
    weights = tmp_path / "own.safetensors"
    header = b'{"a":{"dtype":"F32","shape":[1000000],"data_offsets":[0,4000000]}}'
    weights.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4_000_000))
    before = trusted.file.read_text()
    try:
        trusted.file.write_text(f'{before}\n[[models]]\nname = "own"\nkind = "lora"\nsource = "file:{weights}"\n')
        box.pin(trusted.lab, trusted.file)
        arguments = ("apply", "--limit", name, "--role", "mirrors", "--role", "models")
        assert (done := trusted.sdfleet(*arguments)).code == 0, done.text
        again = trusted.sdfleet(*arguments)
        assert re.search(rf"{name} +ok +0 ", again.text), again.text
        sizes = trusted.lab.ssh(name, f"stat -Lc %s {ROOT}/data/webui/models/Lora/own.safetensors")
        assert sizes.stdout.strip() == str(weights.stat().st_size)
    finally:
        trusted.file.write_text(before)


@EACH
def test_the_providers_own_command_stops_it_with_the_identifier_that_process_1_has(trusted: Road, name: str) -> None:
    host = load(trusted.file).hosts[name]
    with connect([host]) as remotes, contextlib.suppress(HostError):  # it is gone before it has answered
        remotes[name].call(stop_host, command="auto", root=ROOT, ports={}, stop=True, timeout=100)
    assert trusted.lab.wait_until_off(name, 10)
    trusted.lab.start(name)
    if name == RUNPOD:  # wiped, with the key
        assert (done := with_password(trusted, name, "trust", name, "--replace-host-key")).code == 0, done.text
    assert (done := trusted.sdfleet("status", "--limit", name)).code == 0, done.text


def test_a_container_made_anew_costs_one_command(trusted: Road) -> None:
    trusted.lab.stop(RUNPOD)
    trusted.lab.start(RUNPOD)
    for verb in ("status", "plan"):
        refused = trusted.sdfleet(verb, "--limit", RUNPOD)
        assert refused.code == 1 and "its host key is not the one in" in refused.text
    assert "if the provider's page still shows this address and port" in refused.text
    done = with_password(trusted, RUNPOD, *command_in(refused.text, "--replace-host-key"))
    assert done.code == 0, done.text
    assert (done := trusted.sdfleet("plan", "--limit", RUNPOD, "--role", "base")).code == 0, done.text


def test_another_port_costs_one_command(trusted: Road) -> None:
    right = addressed(trusted, AUTODL, "ssh -p 9 root@127.0.0.1")
    try:
        refused = trusted.sdfleet("status", "--limit", AUTODL)
        assert refused.code == 1 and "see on the provider's page whether it runs" in refused.text
        trust = command_in(refused.text, "--address ")
        assert trust[-1] == "ssh -p PORT root@HOST"
        done = trusted.sdfleet(*trust[:-1], right)
        assert done.code == 0 and "already accepts a key of yours" in done.text, done.text
        assert trusted.sdfleet("status", "--limit", AUTODL).code == 0
    finally:
        addressed(trusted, AUTODL, right)
