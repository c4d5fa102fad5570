"""The campaign from the command line: python -m tests.faults --seeds 1-100 [--jobs 3] [--container vast]."""

import argparse
import collections
import contextlib
import multiprocessing
import queue
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from lab.providers import PROVIDERS
from lab.state import Rented
from tests.faults import campaign


def main() -> int:
    """Run the seeds asked for; 1 if one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="1-100", help="FIRST-LAST, or one, or several with commas")
    parser.add_argument("--jobs", type=int, default=1, help="how many fleets of two hosts work side by side")
    parser.add_argument("--container", choices=PROVIDERS, help="one host is a container of its kind; it breaks")
    options = parser.parse_args()
    containers = (Rented(provider=options.container),) if options.container else ()
    seeds = [seed for part in options.seeds.split(",") for seed in _range(part)]
    tried = []
    for case in _campaign(seeds, options.jobs, containers):
        tried.append(case)
        print(f"{case}: {'; '.join(case.problems) or 'survived'} ({case.seconds:.0f} s)", flush=True)
    failed = [case for case in tried if case.problems]
    print(f"\n{len(tried)} faults tried, {len(tried) - len(failed)} survived")
    for what, count in sorted(collections.Counter(case.broken for case in tried).items()):
        print(f"  {what}: {count - sum(case.broken == what for case in failed)} of {count}")
    if failed:
        print("failed seeds: " + ", ".join(str(case.seed) for case in failed))
    if len(tried) < len(seeds):
        print(f"{len(seeds) - len(tried)} were not tried: a fleet could not be made, or broke down; see above")
    return 1 if failed or len(tried) < len(seeds) else 0


def _campaign(seeds: list[int], jobs: int, containers: Sequence[Rented]) -> Iterator[campaign.Case]:
    """What came of each seed, in the order in which they end."""
    waiting: multiprocessing.Queue[int] = multiprocessing.Queue()
    done: multiprocessing.Queue[campaign.Case | None] = multiprocessing.Queue()
    for seed in seeds:
        waiting.put(seed)
    fleets = [
        multiprocessing.Process(target=_fleet, args=(waiting, done, containers)) for _ in range(min(jobs, len(seeds)))
    ]
    for fleet in fleets:
        fleet.start()
    for _ in fleets:  # each says None when it is done
        yield from iter(done.get, None)


def _fleet(
    waiting: "multiprocessing.Queue[int]",
    done: "multiprocessing.Queue[campaign.Case | None]",
    containers: Sequence[Rented],
) -> None:
    """Take seed after seed to two hosts of its own."""
    try:
        with (
            tempfile.TemporaryDirectory(prefix="sdfleet-faults-") as folder,
            campaign.ready(Path(folder), containers) as light,
            contextlib.suppress(queue.Empty),
        ):
            while True:
                done.put(campaign.run(light, waiting.get(timeout=5)))
    finally:
        done.put(None)


def _range(part: str) -> range:
    first, _, last = part.partition("-")
    return range(int(first), int(last or first) + 1)


if __name__ == "__main__":
    sys.exit(main())
