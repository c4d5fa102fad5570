"""What breaks, each as a context: it breaks on entry, and is mended on exit."""

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lab.upstreams.faults import Fault
from roles import accounts
from tests.light.fleet import LightFleet

SPARE_KB = 64
"""What a full disk has left."""


@dataclass(frozen=True)
class Scene:
    """Where a fault strikes."""

    light: LightFleet
    host: str
    program: "subprocess.Popen[str]"
    chance: random.Random


Break = Callable[[Scene], "contextlib.AbstractContextManager[None]"]


@contextlib.contextmanager
def controller_killed(scene: Scene) -> Iterator[None]:
    """The program and all it started on this machine, by SIGKILL."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(scene.program.pid, signal.SIGKILL)
    yield


@contextlib.contextmanager
def interrupted(scene: Scene) -> Iterator[None]:
    """Ctrl-C."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(scene.program.pid, signal.SIGINT)
    yield


@contextlib.contextmanager
def step_killed(scene: Scene) -> Iterator[None]:
    """What the controller runs on the host right now, by SIGKILL; the connection stays."""
    deadline = time.monotonic() + 4
    while time.monotonic() < deadline and not (found := _steps(scene)):
        time.sleep(0.05)
    if found := _steps(scene):
        scene.light.lab.ssh(scene.host, f"kill -9 {scene.chance.choice(found)}")
    yield


def _steps(scene: Scene) -> list[int]:
    """Processes below an SSH session: neither the session, nor who holds the host's lock, nor who asks."""
    shown = scene.light.lab.ssh(scene.host, "ps -eo pid=,ppid=,args=").stdout.splitlines()
    table = {int(line.split()[0]): (int(line.split()[1]), line.split(None, 2)[2]) for line in shown if line.strip()}

    def is_step(pid: int) -> bool:
        parent, words = table[pid]
        if any(word in words for word in ("sshd", "sdfleet.lock", "ps -eo")):
            return False
        while parent in table:
            if "sdfleet.lock" in table[parent][1]:
                return False
            if table[parent][1].startswith("sshd: root@"):
                return True
            parent = table[parent][0]
        return False

    return [pid for pid in table if is_step(pid)]


@contextlib.contextmanager
def machine_killed(scene: Scene) -> Iterator[None]:
    """The host's power cord is pulled, and put back after two seconds."""
    scene.light.lab.kill(scene.host)
    time.sleep(2)
    scene.light.lab.start(scene.host)
    yield


@contextlib.contextmanager
def network_cut(scene: Scene) -> Iterator[None]:
    """Packets vanish for some seconds."""
    scene.light.lab.cut_network(scene.host)
    try:
        time.sleep(scene.chance.uniform(1, 6))
    finally:
        scene.light.lab.restore_network(scene.host)
    yield


@contextlib.contextmanager
def sessions_killed(scene: Scene) -> Iterator[None]:
    """Every SSH session of the host ends."""
    scene.light.lab.ssh(scene.host, "for p in $(pgrep -f '^sshd: root@'); do kill -9 $p; done")
    yield


@contextlib.contextmanager
def disk_full(scene: Scene) -> Iterator[None]:
    """The file system of the data root has a few kB left."""
    root = scene.light.root
    free = f"$(( $(df --output=avail -k {root} | tail -n 1) - {SPARE_KB} ))"
    scene.light.lab.ssh(scene.host, f"fallocate -l {free}K {root}/.filler")
    try:
        yield
    finally:
        scene.light.on(scene.host, f"rm -f {root}/.filler")


def mirror(**fault: object) -> Break:
    """Upstreams that are dead, slow or lie."""

    @contextlib.contextmanager
    def broken(scene: Scene) -> Iterator[None]:
        servers = ("github", "huggingface", "cdn")
        scene.light.faults.set_faults(*(Fault.model_validate({**fault, "server": name}) for name in servers))
        try:
            yield
        finally:
            scene.light.faults.set_faults()

    return broken


@contextlib.contextmanager
def clock_wrong(scene: Scene) -> Iterator[None]:
    """All that was built so far seems to come from the year 2038: a host's own clock cannot be set in the lab."""
    find = f"cd {scene.light.root} && find apps envs -maxdepth 3 -exec touch -hd 2038-01-01 {{}} +"
    scene.light.lab.ssh(scene.host, find)
    yield


@contextlib.contextmanager
def crash_loop(scene: Scene) -> Iterator[None]:
    """The WebUI is killed whenever it is up, for eight seconds."""
    end = "$(( $(date +%s) + 8 ))"
    kill = f"pkill -KILL -u {accounts.WEBUI}"
    scene.light.lab.ssh(scene.host, f"end={end}; while [ $(date +%s) -lt $end ]; do {kill}; sleep 0.3; done")
    yield


@contextlib.contextmanager
def out_of_memory(scene: Scene) -> Iterator[None]:
    """The WebUI's largest process is killed, as the kernel does when memory runs out."""
    largest = f"ps -u {accounts.WEBUI} -o pid= --sort=-rss | head -n 1"
    scene.light.lab.ssh(scene.host, f"p=$({largest}); [ -z $p ] || kill -9 $p")
    yield


BREAKS: dict[str, Break] = {
    "controller killed": controller_killed,
    "controller interrupted": interrupted,
    "step killed": step_killed,
    "machine killed": machine_killed,
    "network cut": network_cut,
    "sessions killed": sessions_killed,
    "disk full": disk_full,
    "mirror dead": mirror(kind="dead"),
    "mirror slow": mirror(kind="slow", rate=30_000),
    "mirror lying": mirror(kind="wrong"),
    "mirror sends HTML": mirror(kind="html"),
    "mirror cuts off": mirror(kind="cut", after=200),
    "clock wrong": clock_wrong,
    "crash loop": crash_loop,
    "out of memory": out_of_memory,
}

TAKES_THE_SERVICE = frozenset({"machine killed", "crash loop", "out of memory"})
"""Faults that end the service themselves: how long it is away is not the road's doing."""
