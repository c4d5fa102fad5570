"""The road, provisioning: what apply promises, seen on real hosts."""

import pytest

from tests.e2e.conftest import Road

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
