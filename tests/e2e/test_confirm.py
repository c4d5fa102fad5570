"""Changes that cut the controller off: both kinds of hosts put back what served before, and only then."""

import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import tomlkit

from lab.state import Rented
from tests.e2e.test_sudo_and_jump import USER, WELCOME
from tests.light import fleet
from tests.light.fleet import LightFleet

pytestmark = pytest.mark.lab

HOST, CONTAINER = "h1", "c1"
BOTH = (HOST, CONTAINER)
SECONDS = 10
"""fleet.rollout.confirm_seconds."""
SILENCE_SECONDS = 60
"""deploy.connection.hostlock.SILENCE_SECONDS."""
STATE = "/etc/sdfleet/confirm"
NEW, ALL = "new", "all"
"""What is cut: new connections alone, so that those that are there go on; or everything."""
# A rented container has no firewall: there the SSH server, or all of it with its sessions, does not go on.
FIREWALL = """
begin() {{
  nft add table inet cut && nft add chain inet cut input '{{ type filter hook input priority 0; }}'
  nft add rule inet cut input 'iifname != "lo" {rule}'
}}
end() {{ nft delete table inet cut; }}
"""
RULES = {
    NEW: "tcp flags & (syn | ack) == syn reject with tcp reset",
    ALL: "meta l4proto tcp drop",
    "gateway": "tcp dport 443 drop",
}
STOPPED = """
begin() {{ grep -ls '^sshd' /proc/[0-9]*/comm | cut -d/ -f3 | sort -n | head -n {most} | xargs kill -STOP; }}
end() {{ grep -ls '^sshd' /proc/[0-9]*/comm | cut -d/ -f3 | xargs kill -CONT; }}
"""
ARMED = f"[ -e {STATE}/pending.json ]"
# From the moment at which $1 succeeds until the host is armed no more, or for 200 s.
CUT = f"""
until $1; do sleep 0.05; done
begin
n=0; while [ $n -lt 1000 ] && [ -e {STATE}/pending.json -o -e {STATE}/returning.json ]; do sleep 0.2; n=$((n+1)); done
end
"""


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LightFleet]:
    """A host with a gateway and a firewall, whose user may sudo, and a container, with the light WebUI."""
    with fleet.running(tmp_path_factory.mktemp("confirm"), 1, (Rented(provider="vast"),)) as running:
        document = tomlkit.parse(running.file.read_text())
        document["hosts"][HOST]["groups"] = ["webui", "gateway"]
        document["secrets"] = {"gateway_logins": {"file": "logins"}}
        document["fleet"]["rollout"]["confirm_seconds"] = SECONDS
        running.file.write_text(tomlkit.dumps(document))
        (running.folder / "logins").write_text("ann:correct-horse-58\n")
        (running.folder / "logins").chmod(0o600)
        done = running.sdfleet("apply")
        assert done.code == 0, done.text
        running.on(HOST, WELCOME)
        document["hosts"][HOST]["user"] = USER
        running.file.write_text(tomlkit.dumps(document))
        running.on(HOST, "apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q nftables")
        yield running


def flag(light: LightFleet, number: int) -> None:
    """Have fleet.toml name another way to run the WebUI."""
    document = tomlkit.parse(light.file.read_text())
    document["webui"]["extra_arguments"] = [f"--number={number}"]
    light.file.write_text(tomlkit.dumps(document))


def cut(light: LightFleet, host: str, what: str = NEW, once: str = ARMED) -> None:
    """Have a host cut off what is to be cut, once that command succeeds."""
    how = FIREWALL.format(rule=RULES[what]) if host == HOST else STOPPED.format(most=1 if what == NEW else 99)
    script = shlex.quote(f"{how}{CUT.replace('$1', once)}")
    light.on(host, f"setsid sh -c {script} </dev/null >/run/cut.log 2>&1 &")


def serving(light: LightFleet) -> dict[str, str]:
    """Release and the WebUI's process's arguments, by host."""
    process = "$(grep -lsa '[l]aunch.py' /proc/[0-9]*/cmdline | head -n 1)"
    look = f"tr '\\0' ' ' <{process} | grep -o -e '--number=[0-9]*' || true"
    return {name: f"{light.release(name)} {light.on(name, look)}" for name in BOTH}


def state(light: LightFleet, host: str, name: str) -> dict[str, object]:
    """One of the host's files on what waits and what was undone."""
    found: dict[str, object] = json.loads(light.on(host, f"cat {STATE}/{name}.json 2>/dev/null || echo '{{}}'"))
    return found


def until_undone(light: LightFleet, seconds: float) -> None:
    """Wait until both hosts have gone back; each can be reached again from then on."""
    deadline = time.monotonic() + seconds

    def wait(host: str) -> None:
        command = light.lab.ssh_command(host, f"test -e {STATE}/undone.json")
        while subprocess.run(["timeout", "5", *command], capture_output=True, stdin=subprocess.DEVNULL).returncode:
            assert time.monotonic() < deadline, f"{host} has not gone back within {seconds:g} s"
            time.sleep(0.5)

    with ThreadPoolExecutor() as pool:
        list(pool.map(wait, BOTH))


def brought_forward(light: LightFleet) -> None:
    """An apply that succeeds and stays, and a second one that changes nothing."""
    done = light.sdfleet("apply")
    assert done.code == 0, done.text
    assert not any(state(light, host, name) for host in BOTH for name in ("pending", "undone"))
    assert light.sdfleet("drift").code == 0


def test_an_apply_that_cuts_its_controller_off_is_undone(light: LightFleet) -> None:
    before = serving(light)
    flag(light, 1)
    for host in BOTH:
        cut(light, host)
    done = light.sdfleet("apply")
    assert done.code == 1 and done.text.count("the change was not confirmed") == 2, done.text
    began = time.monotonic()
    until_undone(light, SECONDS + 20)
    print(f"undone {time.monotonic() - began:.1f} s after the apply, which took {done.seconds:.1f} s")
    assert serving(light) == before
    told = light.sdfleet("status").text
    for host in BOTH:
        assert f"{host}: went back by itself at " in told and "the next apply or update tries again" in told, told
    assert "gone back from: not confirmed" in light.sdfleet("releases").text
    drift = light.sdfleet("drift")
    assert drift.code == 3 and "went back by itself" in drift.text, drift.text
    brought_forward(light)
    assert all("--number=1" in said for said in serving(light).values())


def test_what_is_confirmed_stays(light: LightFleet) -> None:
    flag(light, 10)
    done = light.sdfleet("apply")
    assert done.code == 0, done.text
    now = serving(light)
    time.sleep(2 * SECONDS + 2)
    for host in BOTH:
        assert not state(light, host, "pending") and not state(light, host, "undone")
    light.lab.reboot(HOST)
    light.lab.stop(CONTAINER)
    light.lab.start(CONTAINER)
    for host in BOTH:
        light.until_ready(host, 120)
    time.sleep(SECONDS + 5)
    assert serving(light) == now


def test_an_update_that_cuts_its_controller_off_is_refused(light: LightFleet) -> None:
    before, lock = serving(light), light.file.with_suffix(".lock").read_text()
    light.publish("good", 20)
    cut(light, HOST)
    done = light.sdfleet("update", "webui")
    assert done.code == 1 and f"{HOST} gate confirm" in done.text, done.text
    assert light.file.with_suffix(".lock").read_text() == lock
    time.sleep(SECONDS + 5)
    assert serving(light) == before
    done = light.sdfleet("update", "webui")
    assert done.code == 0, done.text


@pytest.mark.parametrize("restart", [False, True])
def test_a_controller_that_dies_is_no_confirmation(restart: bool, light: LightFleet) -> None:
    before = serving(light)
    flag(light, 30 + restart)
    killed = light.start("apply")
    for host in BOTH:  # until the switch has begun
        light.on(
            host, f"until grep -q 'number={30 + restart}' {light.root}/apps/webui/history.json; do sleep 0.1; done"
        )
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    if restart:
        light.lab.kill(HOST)
        light.lab.kill(CONTAINER)
        light.lab.start(HOST)
        light.lab.start(CONTAINER)
    deadline = time.monotonic() + 150
    while any(state(light, host, name) for host in BOTH for name in ("pending", "returning")):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    for host in BOTH:
        light.until_ready(host, 120)
    assert serving(light) == before
    brought_forward(light)


def test_a_host_that_nobody_reaches_any_more_goes_back(light: LightFleet) -> None:
    before = serving(light)
    flag(light, 40)
    for host in BOTH:
        # Not before the switch: there would be nothing to put back.
        cut(light, host, ALL, once=f"grep -q number=40 {light.root}/apps/webui/history.json")
    began = time.monotonic()
    running = light.start("apply")
    until_undone(light, SILENCE_SECONDS + SECONDS + 60)
    print(f"undone {time.monotonic() - began:.1f} s after the beginning of an apply whose packets vanished")
    text, _ = running.communicate(timeout=200)
    assert running.returncode == 1, text
    assert serving(light) == before
    brought_forward(light)


def test_a_gateway_that_does_not_answer_is_undone(light: LightFleet) -> None:
    before, conf = serving(light), "cat /etc/sdfleet/gateway/current/nginx.conf"
    served, document = light.on(HOST, conf), tomlkit.parse(light.file.read_text())
    for answer_timeout in (1234, 2345):  # the configuration that was put back once is there to be put back again
        document["gateway"] = {"answer_timeout": answer_timeout}
        light.file.write_text(tomlkit.dumps(document))
        cut(light, HOST, "gateway")
        done = light.sdfleet("apply")
        assert done.code == 1 and "the gateway answered before at https://" in done.text, done.text
        deadline = time.monotonic() + SECONDS + 20
        while not state(light, HOST, "undone"):
            assert time.monotonic() < deadline
            time.sleep(0.5)
        undone = state(light, HOST, "undone")
        assert "gateway " in str(undone["done"]) and undone["failed"] == [], undone
        assert light.on(HOST, conf) == served
        assert serving(light) == before
    brought_forward(light)
    assert "2345" in light.on(HOST, conf)
