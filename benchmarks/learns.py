"""Whether a LoRA learns its captions: validation loss on crops of photographs, compared with shuffled captions.

python benchmarks/learns.py [--seeds 3] [--steps 150] [--base-steps 600] [--grid FILE.png]

A small base model is trained on crops of photographs without captions (tests/training/photographs.py). Then for every
seed two LoRAs are trained on 72 crops: one with their captions, one with the same captions shuffled. Noise and
timesteps of the validation are always the same. The grid has one row per prompt, all from the same noise: the base
model, the LoRA, the LoRA of shuffled captions, and a crop with that caption.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from PIL import Image

from lab.photos import PHOTOS
from tests.training import photographs
from training.config import parse_config
from training.run.runner import train_in
from training.signals import Stop

ENLARGED = 2


def run(base: Path, folder: Path, steps: int, seed: int, *, shuffled: bool, draw: bool) -> list[float]:
    """Train one LoRA, with samples if wanted; returns the validation losses before, during and after."""
    photographs.write_crops(folder / "pictures", "photo", each=6, seed=seed, shuffled=shuffled)
    photographs.write_crops(folder / "held", "photo", each=2, seed=seed + 100)
    raw = photographs.config(base, folder, steps, seed)
    raw["data"]["cache_folder"] = str(folder.parent / "cache")
    if draw:
        prompts = [f"{photo.caption} --d 1 --l 3 --s 20" for photo in PHOTOS]
        raw["sample"] = {"prompts": prompts, "at_first": True, "every_steps": steps}
    train_in(parse_config(raw, folder / "config.toml"), folder / "run", Stop())
    events = map(json.loads, (folder / "run" / "log.jsonl").read_text().splitlines())
    return [event["loss"] for event in events if event["event"] == "validation"]


def write_grid(file: Path, true: Path, shuffled: Path, steps: int) -> None:
    """The grid, one row per prompt."""
    side = photographs.SIDE * ENLARGED
    sheet = Image.new("RGB", (4 * side, len(PHOTOS) * side))
    for row, photo in enumerate(PHOTOS):
        columns = (
            true / "run" / "samples" / f"photo-{0:08d}-{row:02d}.png",
            true / "run" / "samples" / f"photo-{steps:08d}-{row:02d}.png",
            shuffled / "run" / "samples" / f"photo-{steps:08d}-{row:02d}.png",
            true / "held" / "1_photo" / f"{Path(photo.path).stem}-0.png",
        )
        for column, path in enumerate(columns):
            with Image.open(path) as image:
                sheet.paste(image.resize((side, side), Image.Resampling.NEAREST), (column * side, row * side))
    sheet.save(file)


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--base-steps", type=int, default=600)
    parser.add_argument("--grid", type=Path, help="write the sample grid of the first seed here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    falls: dict[bool, list[float]] = {False: [], True: []}
    lines = [f"{'seed':>4}{'before':>9}{'captions':>11}{'':8}{'shuffled':>11}"]
    with tempfile.TemporaryDirectory(prefix="sdfleet-learns-") as temporary:
        home = Path(temporary)
        base = photographs.write_base(home / "model", options.base_steps)
        for seed in range(1, options.seeds + 1):
            line = f"{seed:>4}"
            for shuffled in (False, True):
                draw = options.grid is not None and seed == 1
                losses = run(base, home / f"{seed}-{shuffled}", options.steps, seed, shuffled=shuffled, draw=draw)
                falls[shuffled].append(1 - losses[-1] / losses[0])
                line += f"{losses[0]:9.4f}" if not shuffled else ""
                line += f"{losses[-1]:11.4f} {-falls[shuffled][-1]:7.1%}"
            lines.append(line)
            if options.grid and seed == 1:
                write_grid(options.grid, home / "1-False", home / "1-True", options.steps)
    print("\n".join(lines))
    true, mixed = (statistics.mean(falls[shuffled]) for shuffled in (False, True))
    print(f"validation loss falls by {true:.1%} on average, with shuffled captions by {mixed:.1%}")


if __name__ == "__main__":
    main()
