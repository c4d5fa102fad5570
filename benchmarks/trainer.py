"""Our trainer compared with a bare loop, kohya's sd-scripts and diffusers' example: steps, start-up, memory.

python benchmarks/trainer.py [--model tiny|mid] [--rounds 3] [--pictures 40]
    [--kohya FOLDER --kohya-python PYTHON] [--diffusers FOLDER --diffusers-python PYTHON]

The peers are your own checkouts (sd-scripts; diffusers), each with a Python that has its packages. All trainers run at
once but take turns: after some steps one is paused and the next continues, so that a slow phase of the machine affects
all of them. The bare loop runs twice: with kohya's layers, which are ours too, and with the fewer layers of diffusers'
example. Start-up is from the start of the process to the end of the first step, one process at a time. Speed is
measured after all pictures were shown once: some trainers encode them on the way, some before the first step.
"""

import argparse
import statistics
import sys
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.trainers import commands
from benchmarks.trainers.materials import SIZES, Size
from benchmarks.trainers.running import HERE, Contender, materials, started


@dataclass
class Result:
    """The measurements of one trainer, one value per round."""

    step: list[float] = field(default_factory=list)
    """Seconds: the median of the round."""
    ratio: list[float] = field(default_factory=list)
    """Its speed as a share of its bare loop's: the median over the round's turns."""
    first: list[float] = field(default_factory=list)
    """Seconds from the start of the process to the end of the first step."""
    shown: list[float] = field(default_factory=list)
    """The same to the end of the step in which the last picture is shown for the first time."""
    peak: list[float] = field(default_factory=list)


def contenders(options: argparse.Namespace, folder: Path, run: Path, size: Size) -> list[Contender]:
    """All trainers."""
    config = folder / "ours.toml"
    config.write_text(commands.ours(folder, size))
    found = [
        Contender("floor", "floor", (str(HERE / "floor.py"), str(folder), "kohya")),
        Contender("floor, attention", "floor, attention", (str(HERE / "floor.py"), str(folder), "attention")),
        Contender("lora-train", "floor", ("training.cli:run", "run", str(config), "--run", str(run))),
    ]
    if options.kohya:
        channels = size.channels
        unet = {
            "BLOCK_OUT_CHANNELS": channels,
            "TIMESTEP_INPUT_DIM": channels[0],
            "TIME_EMBED_DIM": 4 * channels[0],
        }
        found.append(
            Contender(
                "kohya --sdpa",
                "floor",
                (str(options.kohya / "train_network.py"), *commands.kohya(folder, size)),
                options.kohya_python,
                options.kohya,
                {"library.original_unet": unet},
            )
        )
    if options.diffusers:
        program = options.diffusers / "examples/text_to_image/train_text_to_image_lora.py"
        command = (str(program), *commands.diffusers(folder, size))
        found.append(Contender("diffusers", "floor, attention", command, options.diffusers_python, folder))
    return found


def measure(options: argparse.Namespace, folder: Path, size: Size) -> dict[str, Result]:
    """All rounds; for our trainer also a second start, with the caches of the first."""
    results: dict[str, Result] = {}
    for number in range(options.rounds):
        taking_part = contenders(options, folder, folder / f"run{number}", size)
        with started(taking_part, folder) as running:
            shown = {name: one.first + sum(one.steps(options.pictures - 1)) for name, one in running.items()}
            turns: dict[str, list[float]] = {name: [] for name in running}
            for _ in range(size.turns):
                for name, one in running.items():
                    turns[name].append(one.turn(size.turn))
            for contender in taking_part:
                found = results.setdefault(contender.name, Result())
                own, floor = turns[contender.name], turns[contender.floor]
                found.step.append(statistics.median(own))
                found.ratio.append(statistics.median(slow / fast for fast, slow in zip(own, floor, strict=True)))
                found.first.append(running[contender.name].first)
                found.shown.append(shown[contender.name])
                found.peak.append(running[contender.name].peak())
        own_run = next(one for one in taking_part if one.name == "lora-train")
        with started([own_run], folder) as running:
            again = results.setdefault("lora-train, second start", Result())
            running[own_run.name].steps(size.turn * 2)
            again.first.append(running[own_run.name].first)
            again.peak.append(running[own_run.name].peak())
        print(f"round {number + 1} of {options.rounds} done", file=sys.stderr)
    return results


def report(results: dict[str, Result]) -> None:
    """The table: medians over the rounds, and the range of the ratio."""
    print(f"{'':26}{'ms/step':>9}{'x its floor':>13}{'(range)':>15}{'first step':>12}{'all shown':>11}{'peak':>9}")
    for name, found in results.items():
        step = f"{statistics.median(found.step) * 1e3:.1f}" if found.step else ""
        ratio = f"{statistics.median(found.ratio):.3f}" if found.ratio else ""
        spread = f"{min(found.ratio):.3f}-{max(found.ratio):.3f}" if found.ratio else ""
        shown = f"{statistics.median(found.shown):.1f} s" if found.shown else ""
        first, peak = statistics.median(found.first), statistics.median(found.peak)
        print(f"{name:26}{step:>9}{ratio:>13}{spread:>15}{first:>10.2f} s{shown:>11}{peak:>6.0f} MB")


def main() -> None:
    """Make the materials, run, print."""
    options = _options()
    for name in options.model or SIZES:
        with materials(name, options.pictures) as folder:
            print(f"{name}: {options.pictures} pictures, batch 1, fp32, CPU, medians of {options.rounds} rounds")
            report(measure(options, folder, SIZES[name]))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", choices=SIZES, action="append", help="default: all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pictures", type=int, default=40)
    for peer in ("kohya", "diffusers"):
        parser.add_argument(f"--{peer}", type=Path, metavar="FOLDER", help=f"checkout of {peer}")
        parser.add_argument(f"--{peer}-python", default=sys.executable, metavar="PYTHON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
