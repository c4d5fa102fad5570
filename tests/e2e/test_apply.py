"""The road, provisioning: what apply promises, seen on real hosts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import PROGRAM, TREE, Road

pytestmark = pytest.mark.lab

HOSTS = ("h1", "h2")
UNIT = "/etc/systemd/system/sdfleet-webui.service"


ROUND_TRIPS = 12
"""Commands and uploads that an apply with nothing to do may send to a host (see docs/speed.md)."""


def test_second_apply_changes_nothing_and_asks_little(road: Road) -> None:
    done = road.sdfleet("apply", "--verbose")
    assert done.code == 0, done.text
    assert {host: done.cell(host, "changed") for host in HOSTS} == dict.fromkeys(HOSTS, "0"), done.text
    asked = {host: int(done.cell(host, "round trips")) for host in HOSTS}
    assert all(0 < count <= ROUND_TRIPS for count in asked.values()), asked


def test_plan_of_a_finished_fleet_is_empty(road: Road) -> None:
    done = road.sdfleet("plan")
    assert done.code == 0
    assert {host: done.cell(host, "to change") for host in HOSTS} == dict.fromkeys(HOSTS, "0"), done.text


def test_verify_is_green(road: Road) -> None:
    done = road.sdfleet("verify")
    assert done.code == 0, done.text


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param("systemctl stop sdfleet-webui", id="stopped unit"),
        pytest.param("rm /srv/sdfleet/data/webui/models/Stable-diffusion/tiny-sd15.safetensors", id="deleted model"),
        pytest.param(f"sed -i 's/^Restart=.*/Restart=no/' {UNIT} && systemctl daemon-reload", id="edited unit file"),
    ],
)
def test_damage_is_found_by_verify_and_mended_by_apply(road: Road, damage: str) -> None:
    road.on("h1", damage)
    found = road.sdfleet("verify", "--limit", "h1")
    assert found.code == 3, found.text
    mended = road.sdfleet("apply", "--limit", "h1")
    assert mended.code == 0, mended.text
    assert int(mended.cell("h1", "changed")) > 0
    after = road.sdfleet("verify", "--limit", "h1")
    assert after.code == 0, after.text


def test_an_unreachable_host_is_named_and_the_other_goes_on(road: Road) -> None:
    road.lab.cut_network("h2")
    try:
        done = road.sdfleet("apply")
    finally:
        road.lab.restore_network("h2")
    assert done.code == 1
    assert "h2 unreachable" in done.text
    assert done.cell("h1", "result") == "ok"


def test_webui_listens_on_loopback_only_and_runs_as_its_own_user(road: Road) -> None:
    port = road.fleet.hosts["h1"].webui.port
    listening = road.on("h1", f"ss -Hltn 'sport = :{port}'").split()
    assert f"127.0.0.1:{port}" in listening
    assert f"0.0.0.0:{port}" not in listening
    assert road.on("h1", "ps -o user:20= -p $(systemctl show -P MainPID sdfleet-webui)") == "sdwebui"


def _plan(command: list[str], cwd: Path, path: Path | None, road: Road) -> str:
    environment = {**os.environ, "SDFLEET_FILE": str(road.file), "COLUMNS": "200"}
    environment.pop("PYTHONPATH", None)
    if path:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_an_editable_install_plans_the_same(road: Road, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("sdfleet")
    if not program.exists():
        pytest.fail(f"no {program}: install the checkout with `pip install -e .`, as make does")
    assert "Planned 2 host(s)" in _plan([str(program), "plan"], tmp_path, None, road)


def test_a_wheel_in_a_foreign_folder_plans_the_same(road: Road, tmp_path: Path) -> None:
    from hatchling.builders.wheel import WheelBuilder

    [wheel] = WheelBuilder(str(TREE)).build(directory=str(tmp_path), versions=["standard"])
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(site), wheel]
    subprocess.run(install, check=True)
    command = [sys.executable, "-P", "-c", PROGRAM, "plan"]
    assert "Planned 2 host(s)" in _plan(command, tmp_path, site, road)
