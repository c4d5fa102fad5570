"""ComfyUI (the lab's stand-in) as a service on a real host."""

import json
import os
import re
import signal
from collections.abc import Iterator

import pytest
import tomlkit

from lab.upstreams.catalog import COMFYUI
from lab.upstreams.repositories import publish
from lab.upstreams.service import Folders
from tests.e2e.conftest import Road, one_host
from tests.lab.comfyui import NODE
from tests.roles import hardening
from tests.roles.gateway.asking import LOGIN, PASSWORD, UPGRADE

pytestmark = pytest.mark.lab

STATE = "cat /run/sdfleet-comfyui/state.json"
URL = "http://127.0.0.1:8188"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    """One host that plays comfyui alone, with a gateway in front."""
    with one_host(tmp_path_factory.mktemp("comfyui"), "comfyui", "gateway", logins=":".join(LOGIN)) as road:
        yield road


def test_it_has_drawn_and_a_second_apply_changes_nothing(place: Road) -> None:
    state = json.loads(place.on("h1", STATE))
    assert state["ready"] and state["picture"]["seconds"] > 0 and state["problem"] == ""
    again = place.sdfleet("apply")
    assert (again.code, again.cell("h1", "changed")) == (0, "0"), again.text
    verified = place.sdfleet("verify")
    assert verified.code == 0, verified.text
    shown = place.sdfleet("status").text
    assert "ComfyUI" in shown and "WebUI" not in shown and re.search(r"ready, drew in [\d.]+ s", shown), shown
    told = json.loads(place.sdfleet("status", "--json").text)["hosts"]["h1"]
    assert told["webui"] is None and told["comfyui"]["answers"] and told["comfyui"]["extensions_by_hand"] == []


def test_it_is_hardened_and_cannot_reach_out(place: Road) -> None:
    assert "sdfleet-comfyui.service" in hardening.on_host(place, "h1")


def test_it_is_behind_the_gateway_with_its_websocket(place: Road) -> None:
    gateway = "https://127.0.0.1:8444"

    def status(path: str, *options: str) -> str:
        # A websocket stays open, so curl ends in time and says so.
        words = f"curl -sk -m 5 -o /dev/null -w '%{{http_code}}' {' '.join(options)} {gateway}{path}"
        return place.on("h1", f"{words} || true")

    head = place.on("h1", f"curl -sk -m 60 -o /dev/null -D - -u '{LOGIN[0]}:{PASSWORD}' {gateway}/sdfleet/login")
    given = [line.partition(":")[2].strip() for line in head.splitlines() if line.lower().startswith("set-cookie:")]
    cookie = given[0].partition(";")[0]
    login, own = f"-H 'Cookie: {cookie}'", f"-H 'Origin: {gateway}'"
    assert status("/system_stats") == "401" and status("/ws", UPGRADE) == "401"
    assert status("/system_stats", login, own) == "200" and status("/ws", login, own, UPGRADE) == "101"
    foreign = "-H 'Origin: https://elsewhere.example'"
    assert status("/system_stats", login, foreign) == "403" and status("/ws", login, foreign, UPGRADE) == "403"


def test_a_stopped_service_is_drift(place: Road) -> None:
    place.on("h1", "systemctl stop sdfleet-comfyui.service")
    assert place.sdfleet("verify", "--role", "comfyui").code == 3
    started = place.sdfleet("start", "comfyui")
    assert started.code == 0, started.text
    assert place.sdfleet("verify", "--role", "comfyui").code == 0


def test_a_change_that_nobody_confirms_is_undone(place: Road) -> None:
    unit, text = "cat /etc/systemd/system/sdfleet-comfyui.service", place.file.read_text()
    before = place.on("h1", unit)
    document = tomlkit.parse(text)
    document["fleet"]["rollout"] = {"confirm_seconds": 10}
    document["comfyui"]["port"] = 8199
    place.file.write_text(tomlkit.dumps(document))
    controller = place.start("apply")
    place.on("h1", "until grep -q 8199 /srv/sdfleet/apps/comfyui/history.json; do sleep 0.1; done")  # the switch
    os.killpg(controller.pid, signal.SIGKILL)
    controller.communicate()
    place.on("h1", "cd /etc/sdfleet/confirm; while [ -e pending.json -o -e returning.json ]; do sleep 0.2; done")
    assert "comfyui " in place.on("h1", "cat /etc/sdfleet/confirm/undone.json")
    assert place.on("h1", unit) == before and json.loads(place.on("h1", STATE))["ready"]
    place.file.write_text(text)


def test_an_update_that_cannot_draw_is_undone_and_one_with_a_custom_node_brings_it(place: Road) -> None:
    before = place.on("h1", "readlink /srv/sdfleet/apps/comfyui/current")
    git = Folders(place.lab.folder.upstreams).git / f"{COMFYUI}.git"
    broken = publish(git, {"main.py": b"import sys\nsys.exit('--quick-test-for-ci' not in sys.argv)\n"}, "broken")
    document = tomlkit.parse(place.file.read_text())
    good = document["comfyui"]["ref"]
    document["comfyui"]["ref"] = broken
    place.file.write_text(tomlkit.dumps(document))
    updated = place.sdfleet("update", "--locked")
    assert updated.code == 1 and "ComfyUI ended with status 1 before it had started" in updated.text, updated.text
    assert place.on("h1", "readlink /srv/sdfleet/apps/comfyui/current") == before
    assert json.loads(place.on("h1", STATE))["ready"]
    document["comfyui"]["ref"] = good
    commit = publish(git.with_name("say.git"), {"__init__.py": NODE.encode()}, "a node")
    node = {"name": "say", "url": f"https://github.com/{COMFYUI.partition('/')[0]}/say.git", "commit": commit}
    document["comfyui"]["custom_nodes"] = [node]
    place.file.write_text(tomlkit.dumps(document))
    mended = place.sdfleet("update", "--locked")
    assert mended.code == 0, mended.text
    assert "Say" in json.loads(place.on("h1", f"curl -fsS -m 20 {URL}/object_info/Say"))
    assert place.sdfleet("verify", "--role", "comfyui").code == 0
