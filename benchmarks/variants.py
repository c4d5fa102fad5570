"""How much settings of our trainer save per trained picture, each compared with the same run without it.

python benchmarks/variants.py [--model tiny|mid] [--turns 5]

All runs take turns, as in benchmarks/trainer.py, and are measured after every picture was shown once.
"""

import argparse
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.trainers.commands import ours
from benchmarks.trainers.materials import SIZES
from benchmarks.trainers.running import Contender, materials, started

PICTURES = 16
BASE = "as it is"
VARIANTS: dict[str, tuple[int, str]] = {
    BASE: (1, ""),
    "batch 4": (4, "batch_size = 4"),
    "channels last": (1, "channels_last = true"),
    "bf16": (1, 'precision = "bf16"'),
    "compile": (1, "compile = true"),
    "gradient checkpointing": (1, "gradient_checkpointing = true"),
}
"""By name: pictures per step, and what is added to [train]."""


def contenders(folder: Path, model: str) -> list[Contender]:
    """One run for each variant."""
    found = []
    for number, (name, (_, settings)) in enumerate(VARIANTS.items()):
        config = folder / f"{number}.toml"
        config.write_text(ours(folder, SIZES[model], settings))
        command = ("training.cli:run", "run", str(config), "--run", str(folder / f"run{number}"))
        found.append(Contender(name, BASE, command))
    return found


def measure(folder: Path, model: str, turns: int) -> None:
    """Print each variant's seconds a picture as a share of the plain run's, its first step and its memory."""
    size = SIZES[model]
    with started(contenders(folder, model), folder) as running:
        for name, one in running.items():
            one.steps(PICTURES // VARIANTS[name][0])
        costs: dict[str, list[float]] = {name: [] for name in running}
        for _ in range(turns):
            for name, one in running.items():
                costs[name].append(one.turn(size.turn) / VARIANTS[name][0])
        print(f"{model}: {'ms/picture':>32}{'x plain':>10}{'(range)':>15}{'first step':>12}{'peak':>9}")
        for name, one in running.items():
            ratios = [own / plain for own, plain in zip(costs[name], costs[BASE], strict=True)]
            spread = f"{min(ratios):.2f}-{max(ratios):.2f}"
            cost = statistics.median(costs[name]) * 1e3
            ratio = statistics.median(ratios)
            print(f"{name:26}{cost:>12.1f}{ratio:>10.2f}{spread:>15}{one.first:>10.1f} s{one.peak():>6.0f} MB")


def main() -> None:
    """Make the materials, run, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", choices=SIZES, action="append", help="default: all")
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    for model in options.model or SIZES:
        with materials(model, PICTURES) as folder:
            measure(folder, model, options.turns)


if __name__ == "__main__":
    main()
