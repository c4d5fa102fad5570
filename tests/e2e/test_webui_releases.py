"""The WebUI's releases on a real host: a bad one is left, a half-built environment is finished, no link dangles."""

import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import tomlkit

from lab import box, layers
from tests.e2e.conftest import PROVISIONED, Road

pytestmark = pytest.mark.lab

CURRENT = "/srv/sdfleet/apps/webui/current"
ENVS = "/srv/sdfleet/envs"
DEAD = "http://10.77.0.1:9"
"""Nothing listens there."""
WATCH = f"""
import os, time
while not os.path.exists("/tmp/enough"):
    if not os.path.exists("{CURRENT}/code"):
        print("gap", flush=True)
    time.sleep(0.0005)
"""


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    """The first of the provisioned hosts alone."""
    folder = tmp_path_factory.mktemp("releases")
    with layers.attached(PROVISIONED, folder, hosts=1) as running:
        yield Road(running, folder)


@pytest.fixture
def brought_back(road: Road) -> Iterator[None]:
    """Brings the host back to what the road's own file says after a test that leaves it with something else."""
    yield
    done = road.sdfleet("apply", "--limit", "h1")
    assert done.code == 0, done.text


def changed(road: Road, name: str, **tables: object) -> Path:
    """A fleet.toml beside the road's, with other values in some of its tables."""
    document = tomlkit.parse(road.file.read_text())
    for table, values in tables.items():
        assert isinstance(values, dict)
        document[table].update(values)
    file = road.folder / f"{name}.toml"
    file.write_text(tomlkit.dumps(document))
    box.pin(road.lab, file)
    return file


def test_a_dead_first_mirror_is_skipped_and_named(road: Road) -> None:
    mirrors = tomllib.loads(road.file.read_text())["mirrors"]["github"]
    file = changed(road, "dead-mirror", mirrors={"github": [DEAD, *mirrors]})
    done = road.sdfleet("apply", "--limit", "h1", "--fleet", str(file))
    assert done.code == 0, done.text
    assert f"mirrors.github: {DEAD} gives no usable answer, skipped; using {mirrors[0]}" in done.text
    assert done.cell("h1", "changed") == "0"


def test_a_release_that_does_not_start_is_left_again(road: Road) -> None:
    before = road.on("h1", f"readlink {CURRENT}; sha256sum /etc/systemd/system/sdfleet-webui.service")
    file = changed(road, "bad-flag", webui={"extra_arguments": ["--no-such-flag"]})
    done = road.sdfleet("apply", "--limit", "h1", "--fleet", str(file))
    assert done.code == 1
    assert "sdfleet-webui.service did not become ready" in done.text
    assert "no-such-flag" in done.text, "the service's own words are missing"
    assert "went back to" in done.text
    assert road.on("h1", "systemctl is-active sdfleet-webui") == "active"
    assert road.on("h1", f"readlink {CURRENT}; sha256sum /etc/systemd/system/sdfleet-webui.service") == before


def test_models_that_root_put_there_by_hand_do_not_keep_the_webui_from_starting(road: Road) -> None:
    models = "/srv/sdfleet/data/webui/models"
    road.on("h1", "systemctl stop sdfleet-webui")
    road.on("h1", f"chown root: {models} && rm -rf {models}/hypernetworks && cp /etc/hostname {models}/by-hand.txt")
    done = road.sdfleet("apply", "--limit", "h1")
    assert done.code == 0 and "Make folders" in done.text, done.text
    assert road.on("h1", f"stat -c %U {models} {models}/hypernetworks").split() == ["sdwebui", "sdwebui"]
    assert road.on("h1", f"stat -c %U {models}/by-hand.txt") == "root"
    assert road.sdfleet("apply", "--limit", "h1").cell("h1", "changed") == "0"


@pytest.mark.usefixtures("brought_back")
def test_a_killed_apply_leaves_the_running_release_and_the_next_one_finishes(road: Road) -> None:
    key = road.on("h1", f"basename $(readlink -f {CURRENT}/env)")
    lock = road.folder / road.fleet.hosts["h1"].webui.requirements.name  # type: ignore[union-attr]
    other = road.folder / "other.lock.txt"
    other.write_text(f"# The same packages, so another environment by name.\n{lock.read_text()}")
    file = changed(road, "other-lock", webui={"requirements": other.name})
    process = road.start("apply", "--limit", "h1", "--fleet", str(file))
    deadline = time.monotonic() + 120
    while not road.on("h1", f"ls -d {ENVS}/.*.building 2>/dev/null || true"):
        assert time.monotonic() < deadline, "no environment is being built"
        time.sleep(0.2)
    process.kill()
    process.wait()
    assert road.on("h1", f"ls {ENVS}").split().count(key) == 1
    assert road.on("h1", f"readlink -e {CURRENT}/code")
    assert road.on("h1", "systemctl is-active sdfleet-webui") == "active"
    done = road.sdfleet("apply", "--limit", "h1", "--fleet", str(file))
    assert done.code == 0, done.text
    assert road.on("h1", f"ls -A {ENVS} | grep building || true") == ""
    assert road.on("h1", f"basename $(readlink -f {CURRENT}/env)") != key


def test_current_never_dangles_while_releases_change(road: Road) -> None:
    repositories = tomllib.loads(road.file.read_text())["webui"]["repositories"]
    more = {**repositories, "one-more": repositories["BLIP"]}
    file = changed(road, "one-more-repository", webui={"repositories": more})
    road.on("h1", f"rm -f /tmp/enough; setsid python3 -c '{WATCH}' >/tmp/gaps 2>&1 </dev/null &")
    try:
        there = road.sdfleet("apply", "--limit", "h1", "--fleet", str(file))
        back = road.sdfleet("apply", "--limit", "h1")
    finally:
        road.on("h1", "touch /tmp/enough")
    for done in (there, back):
        assert done.code == 0, done.text
        assert int(done.cell("h1", "changed")) > 0
    assert road.on("h1", "cat /tmp/gaps") == ""
