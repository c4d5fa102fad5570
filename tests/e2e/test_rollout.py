"""Rollouts over eight hosts: no outage, a bad release stops at the canary, going back takes seconds."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import tomlkit

from tests.light import fleet
from tests.light.fleet import INVOCATION, ROOT, LightFleet
from tests.light.probing import Answering, probed
from tests.typed import Done

pytestmark = pytest.mark.lab

HOSTS = 8


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LightFleet]:
    """Eight hosts with the light WebUI, after a first apply."""
    with fleet.running(tmp_path_factory.mktemp("rollout"), HOSTS) as running:
        yield running


@dataclass(frozen=True)
class Rolled:
    """A rollout to all hosts, and what was seen of it."""

    done: Done
    seen: Answering
    before: str
    """The release that all hosts had."""
    after: dict[str, str]
    """The release that each host had afterwards."""


@pytest.fixture(scope="module")
def rolled(light: LightFleet) -> Rolled:
    """A second release on all hosts, so that there is one to go back to."""
    before = light.release("h1")
    light.publish("good", 2)
    with probed(light, light.hosts) as seen:
        done = light.sdfleet("update", "webui")
        assert done.code == 0, done.text
    return Rolled(done, seen, before, {host: light.release(host) for host in light.hosts})


def brought_forward(light: LightFleet, *hosts: str) -> None:
    """Bring the hosts to what the fleet's file says; each test leaves them so."""
    done = light.sdfleet("apply", *(word for host in hosts for word in ("--limit", host)))
    assert done.code == 0, done.text


def untouched(light: LightFleet, hosts: list[str]) -> dict[str, str]:
    """What would be another if a host were touched: its process, its releases, its history."""
    look = f"{INVOCATION}; ls -A {ROOT}/apps/webui/releases; sha256sum <{ROOT}/apps/webui/history.json"
    with ThreadPoolExecutor(HOSTS) as pool:
        return dict(zip(hosts, pool.map(lambda host: light.on(host, look), hosts), strict=True))


def test_rollout_keeps_seven_of_eight_answering(rolled: Rolled, capsys: pytest.CaptureFixture[str]) -> None:
    done, seen = rolled.done, rolled.seen
    assert "3 wave(s): h1, then h2 h3 h4 h5, then h6 h7 h8" in done.text
    counts = seen.counts()
    whole = counts.count(HOSTS) / len(counts)
    with capsys.disabled():
        print(
            f"\nrollout over {HOSTS} hosts: {done.seconds:.1f} s, {len(counts)} instants at 10 Hz, at least "
            f"{min(counts)} of {HOSTS} answering, all of them at {whole:.0%} of the instants"
        )
    assert min(counts) >= HOSTS - 1, seen.asked
    assert all(release != rolled.before for release in rolled.after.values())


def test_a_finished_rollout_has_nothing_left_to_do(light: LightFleet) -> None:
    brought_forward(light, *light.hosts)  # what another test's bad release left is removed
    before = untouched(light, light.hosts)
    done = light.sdfleet("update", "--locked")
    assert done.code == 0, done.text
    assert "nothing to do" in done.text
    assert untouched(light, light.hosts) == before


@pytest.mark.parametrize(
    ("fate", "gate", "words"),
    [
        ("crash", "apply", "ImportError: this release is broken"),
        ("hang", "apply", "has not started within 10 s"),
        ("fades", "picture", "the picture has a single colour"),
        ("stuck", "picture", "gave no answer within 10 s"),
        ("shouts", "journal", "something is not as it was"),
    ],
)
def test_a_bad_release_stops_at_the_canary(
    fate: str, gate: str, words: str, light: LightFleet, capsys: pytest.CaptureFixture[str]
) -> None:
    canary, others = light.hosts[0], light.hosts[1:]
    old, before, lock = light.release(canary), untouched(light, others), light.file.with_suffix(".lock").read_text()
    light.publish(fate, 3)
    done = light.sdfleet("update", "webui")
    assert done.code == 1, done.text
    assert f"{canary} gate {gate}" in done.text and words in done.text
    assert f"0 host(s) passed, {HOSTS - 1} were not touched" in done.text
    assert light.release(canary) == old
    assert json.loads(light.on(canary, "cat /run/sdfleet-webui/state.json"))["ready"]
    assert untouched(light, others) == before
    assert light.file.with_suffix(".lock").read_text() == lock, "the lock still names the refused release"
    with capsys.disabled():
        print(f"\nbad release ({fate}): the canary was back after {done.seconds:.1f} s, stopped by gate {gate}")
    assert done.seconds < 90


def test_harmless_lines_are_no_reason_to_go_back(light: LightFleet) -> None:
    light.publish("mumbles", 31)
    done = light.sdfleet("update", "webui", "--limit", "h8")
    assert done.code == 0, done.text
    assert light.on("h8", "git -C /srv/sdfleet/apps/webui/current/code describe --tags") == "master"
    brought_forward(light)


def test_pause_stops_after_the_canary_and_locked_goes_on(light: LightFleet) -> None:
    light.publish("good", 4)
    paused = light.sdfleet("update", "webui", "--pause")
    assert paused.code == 0, paused.text
    assert "Paused. Continue with: sdfleet update --locked" in paused.text
    first = light.process("h1")
    done = light.sdfleet("update", "--locked")
    assert done.code == 0, done.text
    assert f"Updated {HOSTS - 1} host(s)" in done.text
    assert light.process("h1") == first, "the canary had passed already"


@pytest.mark.usefixtures("rolled")
def test_rollback_of_all_hosts_takes_seconds(light: LightFleet, capsys: pytest.CaptureFixture[str]) -> None:
    # An earlier test may have left a host whose last release is the same one with other options, which are in its unit.
    serves = f"readlink {ROOT}/apps/webui/current; systemctl cat sdfleet-webui"
    now, before = light.release("h8"), {host: light.on(host, serves) for host in light.hosts}
    light.faults.set_faults(*(fleet.dead(server) for server in ("github", "huggingface", "cdn")))
    try:
        done = light.sdfleet("rollback")
    finally:
        light.faults.set_faults()
    assert done.code == 0, done.text
    with capsys.disabled():
        print(f"\nrollback of {HOSTS} hosts: {done.seconds:.1f} s")
    assert all(light.on(host, serves) != old for host, old in before.items())
    assert light.sdfleet("drift").code == 3
    back = light.sdfleet("rollback", "h8", "--to", now)
    assert back.code == 0 and light.release("h8") == now, back.text
    listed = light.sdfleet("releases", "--limit", "h8").text
    assert now in listed and "in use" in listed and "root@" in listed
    brought_forward(light)


def test_two_controllers_do_not_change_one_host(light: LightFleet) -> None:
    light.publish("good", 6)
    assert light.sdfleet("lock", "--upgrade").code == 0
    first = light.start("update", "--locked")
    assert first.stdout
    for line in first.stdout:
        if "wave(s)" in line:
            break
    second = light.sdfleet("apply", "--limit", "h3")
    assert second.code == 1
    assert "is changing this host; wait until it is done" in second.text and "`sdfleet update` of root@" in second.text
    lock = light.file.with_suffix(".lock").read_text()
    light.publish("good", 5)
    other = light.sdfleet("update", "webui")
    assert other.code == 1 and "is changing this host" in other.text, other.text
    assert light.file.with_suffix(".lock").read_text() == lock, "an update that touched no host moved the lock"
    first.kill()
    first.wait()
    deadline = time.monotonic() + 20
    while (third := light.sdfleet("rollback", "h3", "--to", "nothing")).text.count("is changing this host"):
        assert time.monotonic() < deadline, "the lock outlived its holder"
    assert "No release nothing." in third.text
    done = light.sdfleet("update", "--locked")
    assert done.code == 0, done.text
    assert light.sdfleet("drift").code == 0


def test_only_what_changed_is_restarted(light: LightFleet) -> None:
    before = light.process("h2")
    models = [
        {"name": n, "kind": "checkpoint", "source": f"hf:{fleet.MODELS}/{n}.safetensors"} for n in ("light", "second")
    ]
    file = light.change(
        "more", models=models, mirrors={"huggingface": ["http://10.77.0.1:8091", "http://10.77.0.1:8081"]}
    )
    assert light.sdfleet("lock", "--fleet", str(file)).code == 0
    done = light.sdfleet("apply", "--limit", "h2", "--fleet", str(file))
    assert done.code == 0, done.text
    assert int(_changed(done.text)) > 0
    assert light.process("h2") == before, "neither a mirror nor a model needs a restart"
    asked = light.on("h2", "journalctl -u sdfleet-webui --output=cat | grep -c refreshed-checkpoints")
    assert int(asked) == 1
    brought_forward(light, "h2")


def test_options_go_back_with_their_release(light: LightFleet) -> None:
    config = f"{ROOT}/data/webui/config.json"

    def options() -> dict[str, object]:
        found: dict[str, object] = json.loads(light.on("h4", f"cat {config} 2>/dev/null || echo '{{}}'"))
        return found

    before = options()
    first: dict[str, object] = {"eta": 0.5, "samples_format": "jpg"}
    second: dict[str, object] = {"eta": 0.6}
    for number, wanted in enumerate((first, second)):
        file = light.change(f"options{number}", webui={"options": wanted})
        done = light.sdfleet("apply", "--limit", "h4", "--fleet", str(file))
        assert done.code == 0, done.text
        assert options() == {**before, **wanted}
    back = light.sdfleet("rollback", "h4", "--fleet", str(file))
    assert back.code == 0, back.text
    assert options() == {**before, **first}
    done = light.sdfleet("apply", "--limit", "h4")
    assert done.code == 0, done.text
    assert options() == before


def test_training_is_waited_for_and_stopped_only_by_force(light: LightFleet, tmp_path: Path) -> None:
    unit = "[Service]\nExecStart=/bin/sleep 600\n"
    light.on("h1", f"printf '{unit}' >/etc/systemd/system/lora-train@.service; systemctl start lora-train@ink")
    settings = {"rollout": {"stable_seconds": 1, "picture_seconds": 10, "drain_seconds": 0}}
    file = light.change("training", webui={"extra_arguments": ["--training-test"]}, fleet=settings)
    began = light.on("h1", "systemctl show -P InvocationID lora-train@ink")
    left = light.sdfleet("update", "--locked", "--limit", "h1", "--fleet", str(file))
    assert left.code == 1, left.text
    assert "h1 was skipped because it is training: lora-train@ink.service." in left.text
    assert light.on("h1", "systemctl show -P InvocationID lora-train@ink") == began
    forced = light.sdfleet("update", "--locked", "--force", "--limit", "h1", "--fleet", str(file))
    assert forced.code == 0, forced.text
    assert light.on("h1", "systemctl is-active lora-train@ink") == "active", "what was stopped goes on afterwards"
    light.on("h1", "systemctl stop lora-train@ink")
    brought_forward(light, "h1")


def test_the_cache_comes_before_the_hosts_that_fetch_over_it(light: LightFleet) -> None:
    """Or a host would choose its mirrors while the cache is not there, and the next look would find drift."""
    hosts = tomlkit.parse(light.file.read_text())["hosts"]
    assert isinstance(hosts, dict)
    hosts["h1"].update({"groups": ["webui", "cache"], "internal": hosts["h1"]["address"]})
    file = light.change("cached", hosts=hosts)
    only = ("--limit", "h1", "--limit", "h2", "--fleet", str(file))
    done = light.sdfleet("update", "--locked", *only)
    assert done.code == 0, done.text
    assert done.text.index("Applying the cache first, on h1") < done.text.index("2 wave(s): h1, then h2")
    assert light.on("h2", "grep ^HF_ENDPOINT /etc/sdfleet/mirrors.env").endswith(":8180")
    drift = light.sdfleet("drift", *only)
    assert drift.code == 0, drift.text
    light.on("h1", "systemctl disable --now sdfleet-cache")
    brought_forward(light, "h1", "h2")


def _changed(text: str) -> str:
    rows = [line.split() for line in text.splitlines() if line.startswith("h2  ")]
    return rows[-1][2]
