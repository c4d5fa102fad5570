"""Messages name the table of fleet.toml that sets what they are about: the fleet's, a group's or the host's own."""

from pathlib import Path

import pytest

from deploy.lock_resolver import Resolver, environments
from inventory import lock
from inventory.errors import ConfigError
from inventory.hosts import proxy_of
from inventory.load import check, load
from inventory.model import Fleet

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


def test_plan_and_lock_name_each_place_of_a_ref(fleet: Fleet) -> None:
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
    assert problem.key == "hosts.own.webui.requirements" and "cannot read" in problem.message


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
