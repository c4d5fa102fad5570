"""One fleet of both kinds: a host with systemd and a rented container are updated, go back and are operated alike."""

import json
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import tomlkit

from lab.state import Rented
from tests.light import fleet
from tests.light.fleet import LightFleet
from tests.typed import Done

pytestmark = pytest.mark.lab

HOST, CONTAINER = "h1", "c1"
BOTH = (HOST, CONTAINER)
CANARY = pytest.mark.parametrize("canary", BOTH)


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LightFleet]:
    """A host and a container with the light WebUI, on their second release."""
    with fleet.running(tmp_path_factory.mktemp("mixed"), 1, (Rented(provider="vast"),)) as running:
        running.publish("good", 2)
        done = running.sdfleet("update", "webui")
        assert done.code == 0 and "2 wave(s): h1, then c1" in done.text, done.text
        yield running


def first(light: LightFleet, canary: str) -> None:
    """Have updates begin with this one."""
    document = tomlkit.parse(light.file.read_text())
    for name in BOTH:
        document["hosts"][name]["groups"] = ["webui", *(["first"] if name == canary else [])]
    document["groups"] = {"first": {}}
    document["fleet"]["rollout"]["groups"] = ["first"]
    light.file.write_text(tomlkit.dumps(document))


def releases(light: LightFleet) -> dict[str, str]:
    return {name: light.release(name) for name in BOTH}


def webuis(light: LightFleet) -> dict[str, dict[str, Any]]:
    """What status says of the WebUI of each."""
    told = json.loads(light.sdfleet("status", "--json").text)
    return {name: told["hosts"][name]["webui"] for name in BOTH}


def rows(done: Done, name: str) -> list[list[str]]:
    """The cells of the rows of a host in the table that was printed last."""
    return [re.split(r"\s{2,}", line.strip()) for line in done.text.splitlines() if line.startswith(f"{name} ")]


@CANARY
def test_an_update_goes_on_from_one_kind_to_the_other(canary: str, light: LightFleet) -> None:
    first(light, canary)
    other = next(name for name in BOTH if name != canary)
    before = releases(light)
    light.publish("good", 10 + BOTH.index(canary))
    done = light.sdfleet("update", "webui")
    assert done.code == 0, done.text
    print(f"update of both, {canary} first: {done.seconds:.1f} s")
    assert f"2 wave(s): {canary}, then {other}" in done.text and "Updated 2 host(s)" in done.text
    after = releases(light)
    assert after[HOST] == after[CONTAINER] and after != before
    assert light.sdfleet("drift").code == 0


@CANARY
@pytest.mark.parametrize(
    ("fate", "gate", "words"),
    [
        ("crash", "apply", "ImportError: this release is broken"),
        ("fades", "picture", "the picture has a single colour"),
        ("shouts", "journal", "something is not as it was"),
    ],
)
def test_a_bad_release_goes_back_by_itself(canary: str, fate: str, gate: str, words: str, light: LightFleet) -> None:
    first(light, canary)
    before, lock = releases(light), light.file.with_suffix(".lock").read_text()
    light.publish(fate, 20)
    done = light.sdfleet("update", "webui")
    assert done.code == 1, done.text
    print(f"bad release ({fate}) on {canary}: back after {done.seconds:.1f} s")
    assert f"{canary} gate {gate}" in done.text and words in done.text
    assert releases(light) == before and light.file.with_suffix(".lock").read_text() == lock
    assert json.loads(light.on(canary, "cat /run/sdfleet-webui/state.json"))["ready"]


def test_both_go_back_and_one_that_is_off_keeps_no_other(light: LightFleet) -> None:
    light.publish("good", 30)
    done = light.sdfleet("update", "webui")
    assert done.code == 0, done.text
    now = releases(light)
    done = light.sdfleet("rollback")
    assert done.code == 0 and "2 of 2 host(s) rolled back" in done.text, done.text
    print(f"rollback of both: {done.seconds:.1f} s")
    assert all(light.release(name) != now[name] for name in BOTH)
    drift = light.sdfleet("drift")
    assert drift.code == 3 and all(re.search(rf"^{name} ", drift.text, re.M) for name in BOTH), drift.text
    done = light.sdfleet("apply")
    assert done.code == 0 and releases(light) == now, done.text
    for off, other in (BOTH, BOTH[::-1]):
        light.lab.kill(off)
        done = light.sdfleet("rollback")
        assert done.code == 1 and f"When {off} can be reached again: sdfleet rollback {off}" in done.text, done.text
        assert light.release(other) != now[other]
        light.lab.start(off)
        light.until_ready(off, fleet.BOOTED_SECONDS)
        assert light.release(off) == now[off]
        done = light.sdfleet("apply")
        assert done.code == 0 and releases(light) == now, done.text


def test_what_changed_between_two_ways_to_run_a_release_is_told_alike(light: LightFleet) -> None:
    file = light.change("flag", webui={"extra_arguments": ["--some-flag"]})
    plan = light.sdfleet("plan", "--fleet", file.name)
    for name in BOTH:
        assert re.search(rf"{name}.*Run release \S+ with --some-flag", plan.text), plan.text
    done = light.sdfleet("apply", "--fleet", file.name)
    assert done.code == 0, done.text
    listed = light.sdfleet("releases")
    for name in BOTH:
        assert any("without --some-flag" in row for row in rows(listed, name)), listed.text
    back = light.sdfleet("rollback", "--fleet", file.name)
    assert back.code == 0 and back.text.count("without --some-flag") == 2, back.text
    assert light.sdfleet("drift").code == 0


def test_both_are_looked_at_side_by_side(light: LightFleet) -> None:
    for verb in ("status", "verify", "doctor"):
        done = light.sdfleet(verb)
        assert done.code == 0, f"{verb}: {done.text}"
    assert all(seen["answers"] and not seen["problem"] for seen in webuis(light).values())


def test_why_the_webui_was_started_again_is_shown(light: LightFleet) -> None:
    for name in BOTH:
        light.on(name, "pkill -KILL -u sdwebui -f launch.py")
    time.sleep(1)
    for name in BOTH:
        light.until_ready(name, 40)
    for name, seen in webuis(light).items():
        assert "SIGKILL" in seen["fault"]["reason"], f"{name}: {seen}"


def test_services_are_operated_alike(light: LightFleet) -> None:
    done = light.sdfleet("stop", "webui")
    assert done.code == 0 and done.text.count("webui stopped in") == 2, done.text
    assert [seen["unit"] for seen in webuis(light).values()] == ["inactive/dead"] * 2
    done = light.sdfleet("start", "webui")
    assert done.code == 0 and done.text.count("webui is ready after") == 2, done.text
    before = {name: light.process(name) for name in BOTH}
    done = light.sdfleet("restart", "webui")
    assert done.code == 0 and done.text.count("webui is ready after") == 2, done.text
    assert all(light.process(name) != before[name] for name in BOTH)


@pytest.mark.parametrize("name", BOTH)
def test_logs_are_followed_until_they_are_left(name: str, light: LightFleet) -> None:
    last = light.sdfleet("logs", name, "--lines", "3")
    assert last.code == 0 and len(last.text.splitlines()) == 3, last.text
    following = light.start("logs", name, "-f", "-n", "1")
    heard: list[str] = []

    def hear() -> None:
        assert following.stdout
        heard.extend(iter(following.stdout.readline, ""))

    hearing = threading.Thread(target=hear)
    hearing.start()
    deadline = time.monotonic() + 30
    while not heard:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert light.sdfleet("restart", "webui", name).code == 0
    while not any("Startup time" in line for line in heard[1:]):
        assert time.monotonic() < deadline, heard
        time.sleep(0.1)
    os.killpg(following.pid, signal.SIGINT)
    assert following.wait(20) == 0
    hearing.join()
    shown = "ps -eo args= | grep -c 'memfd_creat[e]\\|[j]ournalctl.*--follow' || true"
    while light.on(name, shown) != "0":
        assert time.monotonic() < deadline, light.on(name, "ps -eo pid=,args=")
        time.sleep(0.5)
