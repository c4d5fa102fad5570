"""Messages name the table of fleet.toml that sets what they are about: the fleet's, a group's or the host's own."""

from pathlib import Path
from unittest.mock import Mock

import pytest

from deploy.connection import refusals
from deploy.locks.resolver import Resolver, environments
from inventory import lock, merge
from inventory.errors import ConfigError
from inventory.hosts import proxy_of
from inventory.load import check, load
from inventory.model import Fleet
from roles.facts.gpu_state import HostGpus
from roles.gpu.decision import decide
from training.textfile import parse_toml

FLEET = """
[fleet]
name = "s"
key = "{key}"
http_proxy = {{ env = "NO_SUCH_VARIABLE" }}
[webui]
ref = "main"
requirements = "none.txt"
[webui.options]
eta = 1
[groups.fast]
webui.ref = "dev"
webui.options = {{ eta = 2, font = "a" }}
sudo_password = {{ file = "gone" }}
[hosts.plain]
address = "192.0.2.1"
[hosts.grouped]
address = "192.0.2.2"
groups = ["webui", "fast"]
user = "ops"
[hosts.own]
address = "192.0.2.3"
groups = ["fast", "webui"]
webui.ref = "mine"
webui.options.eta = 3
key = "own-key"
http_proxy = {{ env = "NO_SUCH_VARIABLE" }}
"""


def written(folder: Path) -> Path:
    (folder / "none.txt").write_text("six==1.17.0 --hash=sha256:" + "0" * 64)
    file = folder / "fleet.toml"
    file.write_text(FLEET.format(key="fleet-key"))
    return file


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return load(written(tmp_path))


def test_the_last_table_that_sets_a_setting_is_its_place(fleet: Fleet) -> None:
    places = {name: host.place("webui.ref") for name, host in fleet.hosts.items()}
    assert places == {"plain": "webui.ref", "grouped": "groups.fast.webui.ref", "own": "hosts.own.webui.ref"}
    own = fleet.hosts["own"]
    assert own.place("webui.options.eta") == "hosts.own.webui.options.eta"
    assert own.place("webui.options.font") == "groups.fast.webui.options.font"
    assert own.place("webui.port") == "webui.port"
    assert fleet.hosts["plain"].place("http_proxy") == "fleet.http_proxy"
    assert fleet.hosts["plain"].place("sudo_password") == "hosts.plain.sudo_password"  # where it would be


def test_a_passphrase_belongs_to_the_table_of_its_key(tmp_path: Path) -> None:
    file = written(tmp_path)
    settings = {name: host.connection.passphrase_setting for name, host in load(file).hosts.items()}
    fleets = "fleet.key_passphrase"
    assert settings == {"plain": fleets, "grouped": fleets, "own": "hosts.own.key_passphrase"}


def test_what_a_login_needs_is_told_by_its_table(fleet: Fleet) -> None:
    grouped, own = fleet.hosts["grouped"], fleet.hosts["own"]
    assert refusals.needs_sudo(grouped).startswith("ops needs sudo: set groups.fast.sudo_password, or allow")
    assert refusals.wrong_password(grouped) == "sudo refused the password of ops; check groups.fast.sudo_password"
    keyless = own.model_copy(update={"places": {}})
    [login] = keyless.connection.model_copy(update={"key": None}).logins
    assert "none of your keys (set hosts.own.key)" in refusals.refused(keyless, login).says


def test_the_driver_is_decided_by_the_table_that_names_it(tmp_path: Path) -> None:
    file = written(tmp_path)
    file.write_text(file.read_text().replace("[groups.fast]", '[groups.fast]\ngpu.webui_torch = "cu121"'))
    fleet = load(file)
    said = [decide(HostGpus(), host.gpu, host.places).sentence for host in fleet.hosts.values()]
    assert said[0] == "No NVIDIA GPU; everything runs on the CPU."
    assert said[1] == "groups.fast.gpu.webui_torch asks for cu121, but the host has no NVIDIA GPU."


def test_a_preset_of_mirrors_is_read_once_for_all_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parse = Mock(side_effect=parse_toml)
    monkeypatch.setattr(merge, "parse_toml", parse)
    merge.preset.cache_clear()
    assert len(load(written(tmp_path)).hosts) == 3 and parse.call_count == 1


def test_plan_and_lock_name_each_place_of_a_ref(fleet: Fleet) -> None:
    lock.write(fleet.file, lock.Lock())
    with pytest.raises(ConfigError) as told:
        lock.require(fleet, fleet.hosts, ["webui"])
    keys = [problem.key for problem in told.value.problems]
    assert keys == ["groups.fast.webui.ref", "hosts.own.webui.ref", "webui.ref"]


def test_lock_names_each_place_of_a_ref_that_cannot_be_looked_up(tmp_path: Path) -> None:
    file = written(tmp_path)
    nowhere = '[mirrors]\ngithub = ["http://127.0.0.1:9"]\nhuggingface = ["http://127.0.0.1:9"]\n'
    file.write_text(file.read_text().replace('http_proxy = { env = "NO_SUCH_VARIABLE" }\n', "") + nowhere)
    with pytest.raises(ConfigError) as told:
        Resolver(load(file), lock.Lock(), lambda name: False, lambda line: None).resolve()
    keys = {problem.key for problem in told.value.problems}
    assert {"groups.fast.webui.ref", "hosts.own.webui.ref", "webui.ref"} <= keys


def test_a_lock_file_that_is_missing_is_told_by_the_table_that_names_it(tmp_path: Path) -> None:
    file = written(tmp_path)
    commit = "a" * 40
    text = file.read_text().replace('webui.ref = "mine"', f'webui.ref = "{commit}"\nwebui.requirements = "lost.txt"')
    file.write_text(text)
    with pytest.raises(ConfigError) as told:
        environments(file, [load(file).hosts["own"]])
    [problem] = told.value.problems
    assert problem.key == "hosts.own.webui.requirements" and problem.message == f"{tmp_path}/lost.txt does not exist"


def test_missing_files_and_secrets_are_told_by_the_table_that_names_them(tmp_path: Path) -> None:
    file = written(tmp_path)
    with pytest.raises(ConfigError) as told:
        check(file)
    keys = [problem.key for problem in told.value.problems]
    assert {"fleet.key", "groups.fast.sudo_password", "hosts.own.key"} <= set(keys)
    for name, place in (("plain", "fleet.http_proxy"), ("own", "hosts.own.http_proxy")):
        with pytest.raises(Exception, match=f"^{place}: the environment variable NO_SUCH_VARIABLE is not set"):
            proxy_of(load(file).hosts[name])


def test_ports_that_collide_are_told_by_their_tables(tmp_path: Path) -> None:
    file = written(tmp_path)
    file.write_text(
        file.read_text().replace('webui.ref = "mine"', "webui.port = 6007\ntrainer.tensorboard_port = 6007")
    )
    file.write_text(file.read_text().replace('["fast", "webui"]', '["fast", "webui", "train"]'))
    with pytest.raises(
        ConfigError, match=r"hosts\.own\.webui\.port and hosts\.own\.trainer\.tensorboard_port are both"
    ):
        load(file)
