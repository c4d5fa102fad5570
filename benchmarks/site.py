"""`sdfleet apply` of all roles with nothing to do, on 1, 4 and 8 running hosts: seconds, CPU seconds, round trips.

python benchmarks/site.py [HOSTS...]     needs root for the lab

Hosts run the light WebUI of the tests; everything else is as for users. The floor is one OpenSSH connection and one
command per host. Five rounds, in turns over the sizes; the median counts.
"""

import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.fleet import measured, ssh_each
from lab import box
from tests.light import fleet
from tests.light.fleet import LightFleet

ROUNDS = 5
Measured = tuple[float, float]
"""Wall seconds, and CPU seconds of the controller with its children."""


def applied(light: LightFleet, hosts: Sequence[str], trips: set[int]) -> None:
    """Apply to hosts, which must change nothing, and record the round trips of each."""
    done = light.sdfleet("apply", "-v", *(f"--limit={host}" for host in hosts))
    if done.code or {done.cell(host, "changed") for host in hosts} != {"0"}:
        sys.exit(f"apply should have nothing to do:\n{done.text}")
    trips.update(int(done.cell(host, "round trips")) for host in hosts)


def main(counts: Sequence[int]) -> None:
    """Start the fleet, apply once, and measure."""
    with tempfile.TemporaryDirectory(prefix="sdfleet-bench-") as name, box.attached(max(counts)) as running:
        light = fleet.written(running, Path(name))
        first = light.sdfleet("apply")
        if first.code:
            sys.exit(first.text)
        print(f"first apply to {len(light.hosts)} bare host(s): {first.seconds:.1f} s")
        found: dict[int, list[Measured]] = {count: [] for count in counts}
        floors: dict[int, list[Measured]] = {count: [] for count in counts}
        nothing = Path(name) / "nothing"
        nothing.write_text("true\n")
        trips: set[int] = set()
        for _ in range(ROUNDS):
            for count in counts:
                hosts = light.hosts[:count]
                found[count].append(measured(lambda hosts=hosts: applied(light, hosts, trips)))  # type: ignore[misc]
                floors[count].append(measured(lambda hosts=hosts: ssh_each(light.lab, hosts, nothing)))  # type: ignore[misc]
        for count in counts:
            (wall, cpu), (least, _) = (
                [statistics.median(column) for column in zip(*runs[count], strict=True)] for runs in (found, floors)
            )
            spread = ", ".join(f"{run[0]:.2f}" for run in found[count])
            print(f"{count} host(s): {wall:.2f} s, {cpu:.2f} CPU s, {wall / least:.1f} x one ssh each   ({spread})")
        print(f"round trips a host: {', '.join(map(str, sorted(trips)))}")


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [1, 4, 8])
