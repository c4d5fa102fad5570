"""The campaign from the command line: python -m tests.faults --seeds 1-100."""

import argparse
import collections
import sys
import tempfile
from pathlib import Path

from tests.faults import campaign


def main() -> int:
    """Run the seeds asked for; 1 if one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="1-100", help="FIRST-LAST, or one, or several with commas")
    seeds = [seed for part in parser.parse_args().seeds.split(",") for seed in _range(part)]
    with tempfile.TemporaryDirectory(prefix="sdfleet-faults-") as folder, campaign.ready(Path(folder)) as light:
        tried = []
        for seed in seeds:
            case = campaign.run(light, seed)
            tried.append(case)
            print(f"{case}: {'; '.join(case.problems) or 'survived'} ({case.seconds:.0f} s)", flush=True)
    failed = [case for case in tried if case.problems]
    print(f"\n{len(tried)} faults tried, {len(tried) - len(failed)} survived")
    for what, count in sorted(collections.Counter(case.broken for case in tried).items()):
        print(f"  {what}: {count - sum(case.broken == what for case in failed)} of {count}")
    if failed:
        print("failed seeds: " + ", ".join(str(case.seed) for case in failed))
    return 1 if failed else 0


def _range(part: str) -> range:
    first, _, last = part.partition("-")
    return range(int(first), int(last or first) + 1)


if __name__ == "__main__":
    sys.exit(main())
