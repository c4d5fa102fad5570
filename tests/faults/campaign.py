"""One fault after the other on two hosts, each at a moment that its seed decides."""

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab.state import Rented
from tests.faults import breaking, breaking_containers, walking, wholeness
from tests.faults.breaking import Break, Scene
from tests.faults.walking import WALKS, Walk
from tests.light import fleet
from tests.light.fleet import LightFleet
from tests.light.probing import probed

HOSTS = 2
BREAKS: dict[str, Break] = {**breaking.BREAKS, **breaking_containers.BREAKS}
TAKES_THE_SERVICE = breaking_containers.TAKES_THE_SERVICE
DISK_MB = 700
"""Size of each host's data root: a file system of its own, which can be filled."""

END_SECONDS = 240
"""A program that has not ended so long after its fault hangs."""

RESTART_SECONDS = 20
"""The longest a service may be away where the fault itself does not end it: a stop, a failed start, a start."""


@dataclass
class Case:
    """One fault: what its seed decides, and what came of it."""

    seed: int
    walk: str
    broken: str
    host: str
    moment: float
    """Where in the walk it strikes, 0..1."""
    seconds: float = 0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"seed {self.seed}: {self.walk}, {self.broken} on {self.host} at {self.moment:.0%}"


def case(seed: int, hosts: list[str], containers: list[str]) -> Case:
    """What a seed stands for. Where there are containers, one of them breaks, in another way with each next seed."""
    chance = random.Random(seed)
    walk, broken = chance.choice(list(WALKS)), chance.choice(list(breaking.BREAKS))
    if containers:
        broken = list(breaking_containers.BREAKS)[seed % len(breaking_containers.BREAKS)]
    return Case(seed, walk, broken, chance.choice(containers or hosts), chance.random())


@contextlib.contextmanager
def ready(folder: Path, containers: Sequence[Rented] = ()) -> Iterator[LightFleet]:
    """Two light hosts with a small disk and two releases, so that there is one to go back to.

    + containers: instead of as many of them
    """
    with fleet.running(folder, HOSTS - len(containers), containers) as light:
        for host in light.hosts:
            light.lab.kill(host)
            own = light.lab.folder.hosts / host
            place = own / "data" if host in light.containers else own / "root" / light.root.lstrip("/")
            script = f"""
                mkdir {place}.disk && mount -t tmpfs -o size={DISK_MB}m,mode=0755 sdfleet {place}.disk
                cp -a {place}/. {place}.disk && mount --move {place}.disk {place} && rmdir {place}.disk
            """
            subprocess.run(["nsenter", f"--mount=/proc/{light.lab.pid}/ns/mnt", "sh", "-ec", script], check=True)
            light.lab.start(host)
            light.until_ready(host, fleet.BOOTED_SECONDS)
        walking.new_release(light, 2)
        done = light.sdfleet("apply")
        assert done.code == 0, done.text
        walking.put_trainer(light)
        for host in light.hosts:
            outputs = f"{light.root}/data/webui/outputs"
            light.on(host, f"mkdir -p {outputs}; echo picture-of-{host} >{outputs}/a.png")
        yield light


def run(light: LightFleet, seed: int) -> Case:
    """Walk a road, break something, and look at everything afterwards."""
    tried = case(seed, light.hosts, light.containers)
    began = time.monotonic()
    chance = random.Random(f"{seed} in detail")
    try:
        _run(light, tried, chance)
    except AssertionError as error:
        tried.problems.append(str(error).splitlines()[0] if str(error) else "an assertion failed")
        _mend(light)
    tried.seconds = time.monotonic() - began
    return tried


def _run(light: LightFleet, tried: Case, chance: random.Random) -> None:
    walk = WALKS[tried.walk](light, chance, 1000 + tried.seed)
    before = {host: wholeness.data(light, host) for host in light.hosts}
    others = [host for host in light.hosts if host != tried.host or tried.broken not in TAKES_THE_SERVICE]
    with probed(light, others) as seen:
        code, text = _walk_and_break(light, tried, walk, chance)
        for host in light.hosts:
            wholeness.serves(light, host)
    for host in others:
        if (gap := seen.longest_gap(host)) > RESTART_SECONDS:
            tried.problems.append(f"{host} was away for {gap:.1f} s")
    if "Traceback" in text:
        tried.problems.append(f"the program ended with a traceback: {text[-1500:]}")
    _look(light, tried)
    if code or tried.walk in ("rollback", "train"):
        again = light.sdfleet(*walk.again)
        if again.code:
            tried.problems.append(f"`sdfleet {' '.join(walk.again)}` afterwards failed: {again.text[-600:]}")
    drift = light.sdfleet("drift")
    if drift.code:
        tried.problems.append(f"it did not converge: {drift.text[-600:]}")
    _look(light, tried)
    for host in light.hosts:
        if lost := before[host] - wholeness.data(light, host):
            tried.problems.append(f"{host} lost {sorted(lost)[:3]}")


def _walk_and_break(light: LightFleet, tried: Case, walk: Walk, chance: random.Random) -> tuple[int, str]:
    """Type the command, break something at its moment, wait for the end; exit code and what it printed."""
    program = light.start(*walk.typed)
    with contextlib.suppress(subprocess.TimeoutExpired):
        program.wait(tried.moment * walk.seconds)
    with BREAKS[tried.broken](Scene(light, tried.host, program, chance)):
        try:
            text, _ = program.communicate(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(program.pid, signal.SIGKILL)
            text, _ = program.communicate()
            tried.problems.append(f"the program hung for {END_SECONDS} s after the fault")
    return program.returncode, text


def _look(light: LightFleet, tried: Case) -> None:
    for host in light.hosts:
        tried.problems += [f"{host}: {line}" for line in wholeness.half_made(light, host)]


def _mend(light: LightFleet) -> None:
    """Bring the fleet in order for the next case, after one that failed."""
    light.faults.set_faults()
    light.sdfleet("apply")
