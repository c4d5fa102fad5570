"""Whatever stands in fleet.toml or fleet.lock, it is read or refused in sentences."""

import contextlib
import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.connection.ssh_config import ssh_config
from deploy.locks import lock as locking
from deploy.preflight import checked
from inventory import lock as locks
from inventory.errors import ConfigError, SdfleetError
from inventory.load import load
from inventory.model import ROLE_TABLES, ROLES, Fleet, FleetTable, HostTable
from roles.models.config import Model
from roles.models.wanted import WantedError, wanted
from tests.mutations import DEEP, ENDLESS, FEW, MANY, TEXTS, VALUES, Tables, as_toml, changed, encoded

SOUND: Tables = {
    "fleet": {
        "name": "studio",
        "data_root": "/srv/sdfleet",
        "mirrors": "china",
        "known_hosts": "known",
        "user": "ubuntu",
        "sudo_password": {"env": "X"},
        "rollout": {"groups": ["webui"], "journal_ignore": ["x.*"]},
    },
    "groups": {"big": {"roles": ["cache"], "webui": {"flags": {"medvram": True}}}},
    "hosts": {
        "gpu-1": {
            "address": "ssh -p 2222 root@203.0.113.10",
            "jump": "a@b:22,c",
            "key": "~/.ssh/id",
            "groups": ["big"],
        },
        "gpu-2": {"address": "203.0.113.11", "webui": {"port": 7861}, "groups": ["webui", "train", "gateway"]},
    },
    "webui": {
        "ref": "v1.10.1",
        "flags": {"theme": "dark", "device-id": 1},
        "extra_arguments": ["--some-extension"],
        "options": {"samples_format": "png", "a": 1.5},
        "extensions": [{"name": "one", "url": "https://example.org/one", "commit": "0" * 40}],
        "repositories": {"k-diffusion": {"url": "https://example.org/k", "commit": "1" * 40}},
    },
    "mirrors": {
        "github": ["https://proxy.example", "https://clone.example/*"],
        "pypi": ["https://pypi.example/simple"],
    },
    "trainer": {"gpus": 1, "peers": ["10.0.0.0/8"]},
    "gateway": {"domain": "a.example", "listen": ["0.0.0.0", "::"], "tls": "self-signed"},
    "lora_scripts": {"ref": "master", "port": 28000},
    "secrets": {"civitai_token": {"env": "CIVITAI_TOKEN"}, "gateway_logins": {"file": "logins"}},
    "models": [
        {"name": "base", "kind": "checkpoint", "source": "hf:a/b/c.safetensors", "sha256": "a" * 64},
        {"name": "ink", "kind": "lora", "source": "file:ink.safetensors", "folder": "styles", "groups": ["webui"]},
        {"name": "oil", "kind": "lora", "source": "civitai:12/3"},
        {"name": "clip", "kind": "hub", "source": "hf:openai/clip", "files": ["*.json"]},
    ],
}
NAMES = (*ROLE_TABLES, *FleetTable.model_fields, *HostTable.model_fields, *Model.model_fields)
PIN = {"path": "c.safetensors", "url": "https://example.org/c.safetensors", "sha256": "a" * 64, "size": 7}
LOCK: Tables = {
    "version": 1,
    "git": {
        "https://github.com/a/b": {"master": {"commit": "2" * 40, "submodules": {"x/y": "3" * 40}, "asked": ["z"]}}
    },
    "models": {
        "checkpoint/base": {"source": "hf:a/b/c.safetensors", "revision": "4" * 40, "files": [PIN]},
        "lora/ink": {"source": "file:ink.safetensors", "files": [PIN], "card": {"version": "SD1", "words": ["w"]}},
        "hub/clip": {"source": "hf:openai/clip", "wanted": ["*.json"], "files": [PIN, PIN]},
    },
    "environments": {"webui": ["abc"], "trainer": []},
}


def _walk(fleet: Fleet) -> None:
    """What commands make of a fleet before they ask a host."""
    with contextlib.suppress(SdfleetError):
        ssh_config(fleet.hosts.values(), fleet.file.parent)
    for host in fleet.hosts.values():
        with contextlib.suppress(WantedError):
            wanted(host.models, host.paths, host.mirrors, here=fleet.file.parent)
    with contextlib.suppress(ConfigError):
        locking.require(fleet, tuple(fleet.hosts), ROLES)


def _reads(folder: Path, toml: bytes, lock: bytes | None = None) -> str:
    """How a fleet is read: "result", or "sentences"."""
    file = folder / "fleet.toml"
    file.write_bytes(toml)
    locks.lock_file(file).unlink(missing_ok=True)
    if lock is not None:
        locks.lock_file(file).write_bytes(lock)
    read = "sentences"
    for reader in (load, checked):
        try:
            _walk(reader(file))
            read = "result"
        except ConfigError as error:
            assert error.problems
            for problem in error.problems:
                assert str(problem) and "\n" not in str(problem) and "[type=" not in str(problem)
                assert len(str(problem)) < 2000
    return read


SIGNS = [
    "-",
    "@",
    ":",
    "[",
    "]",
    "'",
    '"',
    "\\",
    "`",
    "$",
    "#",
    "=",
    ",",
    ";",
    "%",
    "\uff0c",
    "\uff1a",
    "\uff0d",
    "\u200b",
]
WORDS = [
    "ssh ",
    "-p",
    "-i ",
    "-o ",
    "-J ",
    "-F ",
    "--",
    "root@h",
    "22 ",
    "::1",
    "ssh://",
    "Port=",
    "C:\\k",
    "~/k",
    "local",
]
PASTED = st.sampled_from([*SIGNS, *WORDS, " ", "\t", "\n"])
"""What lines that people paste are made of."""
FLEETS = encoded(changed(SOUND, NAMES).map(as_toml))
RANDOM = encoded(st.dictionaries(st.sampled_from(sorted(SOUND)) | TEXTS, VALUES, max_size=4).map(as_toml))
LOCKS = encoded(changed(LOCK, ("sha256", "asked", "card")).map(lambda tables: json.dumps(tables, default=str)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fleet")


def test_the_sound_ones_are_sound(folder: Path) -> None:
    (folder / "known").touch()
    (folder / "ink.safetensors").write_bytes(b"x")
    file = folder / "fleet.toml"
    file.write_text(as_toml(SOUND))
    locks.lock_file(file).write_text(json.dumps(LOCK))
    assert load(file).hosts["gpu-1"].models[0].name == "base"


@FEW
@given(toml=FLEETS | RANDOM)
def test_any_fleet(folder: Path, toml: bytes) -> None:
    _reads(folder, toml)


@FEW
@given(lock=LOCKS | st.binary(max_size=200))
def test_any_lock(folder: Path, lock: bytes) -> None:
    _reads(folder, as_toml(SOUND).encode(), lock)


@pytest.mark.slow
@MANY
@given(toml=FLEETS | RANDOM)
def test_many_fleets(folder: Path, toml: bytes) -> None:
    _reads(folder, toml)


@pytest.mark.slow
@MANY
@given(lock=LOCKS | st.binary(max_size=200))
def test_many_locks(folder: Path, lock: bytes) -> None:
    _reads(folder, as_toml(SOUND).encode(), lock)


@pytest.mark.parametrize("text", [":" * 50_000 + "x", "#" * 50_000 + "ssh ", "ssh -p " + "1" * 50_000, "a/" * 30_000])
def test_an_address_without_end_takes_no_time(folder: Path, text: str) -> None:
    began = time.monotonic()
    toml = f'[fleet]\nname = "a"\n[hosts.a]\naddress = "{text}"\njump = "{text}"'
    assert _reads(folder, toml.encode()) == "sentences"
    assert time.monotonic() - began < 2


@FEW
@given(address=st.lists(PASTED, max_size=10).map("".join), jump=st.lists(PASTED, max_size=4).map("".join))
def test_any_pasted_line(folder: Path, address: str, jump: str) -> None:
    tables = {"fleet": {"name": "a"}, "hosts": {"a": {"address": address, "jump": jump or "b"}}}
    _reads(folder, as_toml(tables).encode())


@pytest.mark.parametrize("text", [DEEP, ENDLESS])
def test_what_a_parser_gives_up_on(folder: Path, text: str) -> None:
    assert _reads(folder, text.encode()) == "sentences"
    assert _reads(folder, as_toml(SOUND).encode(), text.removeprefix("a = ").encode()) == "sentences"
