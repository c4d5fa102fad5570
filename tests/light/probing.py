"""How many hosts answered at every instant of a test, by probers on the hosts."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.light.fleet import PORT, LightFleet

PROBER = Path(__file__).with_name("prober.py")
PLACE = "/run/prober"
HERTZ = 10


@dataclass
class Answering:
    """What the probers saw: filled when they have ended."""

    asked: dict[str, list[tuple[float, float, bool]]] = field(default_factory=dict)
    """Host -> when asked, when answered (s), and whether well."""

    def counts(self) -> list[int]:
        """How many hosts answered, at ten instants a second from when all were asked to when one no longer was."""
        first = max(lines[0][0] for lines in self.asked.values())
        last = min(lines[-1][0] for lines in self.asked.values())
        instants = [first + step / HERTZ for step in range(int((last - first) * HERTZ))]
        by_host = [_at(lines, instants) for lines in self.asked.values()]
        return [sum(host[index] for host in by_host) for index in range(len(instants))]

    def longest_gap(self, host: str) -> float:
        """The longest time, in s, in which a host answered no question."""
        longest, since = 0.0, None
        for began, ended, good in self.asked[host]:
            since = None if good else since or began
            longest = max(longest, ended - since if since else 0.0)
        return longest


def _at(lines: list[tuple[float, float, bool]], instants: list[float]) -> list[bool]:
    """Whether the question asked last before each instant was answered."""
    found, index = [], 0
    for instant in instants:
        while index + 1 < len(lines) and lines[index + 1][0] <= instant:
            index += 1
        found.append(lines[index][2])
    return found


@contextlib.contextmanager
def probed(light: LightFleet, hosts: list[str]) -> Iterator[Answering]:
    """Probers on `hosts` for the length of a `with` block; its value is filled at the end."""
    seen = Answering()
    for host in hosts:
        light.lab.root(host).joinpath("usr/local/bin/prober.py").write_bytes(PROBER.read_bytes())
        start = f"rm -f {PLACE}.log; setsid python3 /usr/local/bin/prober.py {PORT} {PLACE}.log >/dev/null 2>&1 & "
        light.on(host, f"{start} echo $! >{PLACE}.pid; until [ -s {PLACE}.log ]; do sleep 0.05; done")
    yield seen
    for host, text in _logs(light, hosts).items():
        words = (line.split() for line in text.splitlines())
        seen.asked[host] = [(float(line[0]), float(line[1]), line[2] == "1") for line in words if len(line) == 3]


def _logs(light: LightFleet, hosts: list[str]) -> Mapping[str, str]:
    """What the probers wrote; they are ended. A host that was switched off meanwhile has lost its own."""
    return {host: light.on(host, f"kill $(cat {PLACE}.pid) 2>/dev/null; cat {PLACE}.log || true") for host in hosts}
