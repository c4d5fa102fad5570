"""The trainer on a card: whether its runs repeat, how precise it is in half precision, and how fast it is.

python benchmarks/gpu.py [--only repeat,sd15] [--seconds 300] [--tiny] [--work FOLDER]
    [--kohya FOLDER --kohya-python PYTHON] [--diffusers FOLDER --diffusers-python PYTHON]

Needs no network: models of the real shapes (SD 1.5, SDXL) get random weights on the spot. Parts: tests (those marked
gpu), repeat, resume, capture (against eager), precision (losses over 60 steps) and the tables sd15 and sdxl; the first
four and precision take SD 1.5, and SDXL by the names repeat-sdxl, resume-sdxl, capture-sdxl. A part that fails says so,
and the others go on. Peers are checkouts that you bring. --tiny takes small models, which also run on a CPU.
"""

import argparse
import importlib.util
import json
import os
import platform
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.cards import peers
from benchmarks.cards.workshop import HERE, ROOT, Failed, Job, Speed, Workshop
from training.reproduce import weights_apart

HALVES = ("bf16", "fp16")
BATCHES = (1, 4)


class Unequal(Failed):
    """What must be the same to the bit is not."""


class Parts:
    """The parts, each of which returns its lines."""

    def __init__(self, shop: Workshop, options: argparse.Namespace) -> None:
        self.shop, self.options = shop, options

    def tests(self) -> list[str]:
        """The tests that need a card."""
        self.shop.execute("tests", [sys.executable, "-m", "pytest", "-q", "-m", "gpu", ROOT / "tests" / "training"])
        return [(self.shop.folder / "tests.log").read_text().strip().splitlines()[-1]]

    def repeat(self, kind: str = "sd15") -> list[str]:
        """Twice, in two processes, with cold caches, and with other loaders."""
        again = [self._same(kind, "again", half, data="workers = 2") for half in HALVES]
        self.shop.train([self._once(kind, half) for half in HALVES])
        self.shop.train(again)
        return self._equal(kind, again, "repeat")

    def resume(self, kind: str = "sd15") -> list[str]:
        """Killed at its first checkpoint, and gone on with."""
        killed = [self._same(kind, "killed", half) for half in HALVES]
        for job in killed:
            self.shop.kill(job)
        self.shop.train([self._once(kind, half) for half in HALVES])
        self.shop.train(killed)
        return self._equal(kind, killed, "resume after a kill")

    def capture(self, kind: str = "sd15") -> list[str]:
        """Against the same run without graphs."""
        eager = [self._same(kind, "eager", half, train='capture = "off"') for half in HALVES]
        self.shop.train([self._once(kind, half) for half in HALVES])
        self.shop.train(eager)
        if not self._once(kind, "bf16").passes.startswith("captured"):
            return [f"captured against eager: not compared ({self._once(kind, 'bf16').passes})"]
        return self._equal(kind, eager, "captured against eager")

    def precision(self) -> list[str]:
        """Losses of fp16 and bf16 beside fp32's, step by step, and over the last ten."""
        steps = 12 if self.shop.tiny else 60
        jobs = {name: self.shop.job("sd15", f"{name}-long", steps, precision=name) for name in ("fp32", *HALVES)}
        self.shop.train(list(jobs.values()))
        exact, lines = jobs["fp32"].losses, [f"fp32: last ten losses {statistics.mean(jobs['fp32'].losses[-10:]):.5f}"]
        for name in HALVES:
            found = jobs[name].losses
            apart = max(abs(own - true) / true for own, true in zip(found, exact, strict=True))
            last = statistics.mean(found[-10:])
            lines.append(f"{name}: last ten losses {last:.5f}, at most {apart:.2%} from fp32's in one of {steps} steps")
        return lines

    def table(self, kind: str) -> list[str]:
        """Everybody's speed, memory and first step, in bf16."""
        lines = [f"{kind}, {self.shop.resolution(kind)} pixels, bf16{'':<20}{'it/s':>8}{'peak':>11}{'first step':>12}"]
        for batch in BATCHES:
            for name, measure in self._contenders(kind, batch):
                shown = f"batch {batch}: {name}"
                try:
                    found = measure()
                    peak = f"{found.peak_mb} MB" if found.peak_mb else ""
                    first = f"{found.first:.1f} s" if found.first else ""
                    lines.append(f"{shown:<42}{found.it_s:>8.2f}{peak:>11}{first:>12}")
                except Failed as error:
                    lines.append(f"{shown:<42}{error}")
        return lines

    def _contenders(self, kind: str, batch: int) -> list[tuple[str, Callable[[], Speed]]]:
        steps = 8 if self.shop.tiny else {"sd15": 120, "sdxl": 40}[kind]
        size = f"batch_size = {batch}\n"
        variants = {
            "lora-train": (steps, ""),
            "lora-train, not deterministic": (steps, "deterministic = false\n"),
            "lora-train, not captured": (max(8, steps // 3), 'capture = "off"\n'),
        }
        if self.options.compile:
            variants["lora-train, compiled"] = (steps, "compile = true\n")
        found: list[tuple[str, Callable[[], Speed]]] = [
            ("bare loop, eager", lambda: self._bare(kind, batch, "eager")),
            ("bare loop, captured", lambda: self._bare(kind, batch, "captured")),
        ]
        for name, (count, train) in variants.items():
            tag = f"speed-{batch}-{len(found)}"
            found.append((name, lambda tag=tag, count=count, train=train: self._ours(kind, tag, count, size + train)))
        for name in ("kohya", "diffusers"):
            if getattr(self.options, name):
                found.append((name, lambda name=name: self._peer(name, kind, batch, max(8, steps // 3))))
        return found

    def _bare(self, kind: str, batch: int, what: str) -> Speed:
        result = self.shop.folder / f"bare-{kind}-{batch}.json"
        if not result.exists():
            words = [
                self.shop.model(kind),
                kind,
                self.shop.resolution(kind),
                batch,
                3 if self.shop.tiny else 20,
                result,
            ]
            self.shop.execute(result.stem, [sys.executable, HERE / "bare.py", *words])
        found = json.loads(result.read_text())
        if what not in found:
            raise Failed("needs a card")
        return Speed(found["first"] if what == "eager" else 0.0, found[what], found["peak_mb"])

    def _ours(self, kind: str, tag: str, steps: int, train: str) -> Speed:
        job = self.shop.job(kind, tag, steps, train)
        self.shop.train([job])
        return self.shop.speed(job)

    def _peer(self, name: str, kind: str, batch: int, steps: int) -> Speed:
        checkout, python = getattr(self.options, name), getattr(self.options, f"{name}_python")
        result = self.shop.folder / f"{name}-{kind}-{batch}.json"
        how = getattr(peers, name)
        program, *words = how(
            self.shop.model(kind), kind, self.shop.folder / kind, self.shop.resolution(kind), batch, "bf16"
        )
        command = [python, HERE / "watch.py", result, steps, checkout / program, *words]
        self.shop.execute(result.stem, command, cwd=checkout)
        return Speed(**json.loads(result.read_text()))

    def _once(self, kind: str, half: str) -> Job:
        return self._same(kind, "once", half)

    def _same(self, kind: str, tag: str, half: str, train: str = "", data: str = "") -> Job:
        # Enough passes for a capture, and for a kill between a checkpoint and the end.
        return self.shop.job(kind, f"{half}-{tag}", 9 if self.shop.tiny else 30, train, data, precision=half)

    def _equal(self, kind: str, others: list[Job], what: str) -> list[str]:
        lines, unequal = [], False
        for half, other in zip(HALVES, others, strict=True):
            first = self._once(kind, half)
            if first.sha256 == other.sha256:
                lines.append(f"{what}, {half}: equal, sha256 {first.sha256[:16]} ({first.passes})")
                continue
            unequal = True
            files = [job.run / "output" / "cat.safetensors" for job in (first, other)]
            apart = weights_apart(*files)
            lines.append(f"{what}, {half}: NOT EQUAL, weights {apart:.1e} apart (relative, 2-norm) ({first.passes})")
        if unequal:
            raise Unequal("\n".join(lines))
        return lines


def main() -> None:
    """Run the parts, and print what they found last."""
    options = _options()
    began, failed = time.monotonic(), False
    with tempfile.TemporaryDirectory(prefix="sdfleet-gpu-", ignore_cleanup_errors=True) as temporary:
        folder = options.work or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        parts = Parts(Workshop(folder, options.seconds, tiny=options.tiny), options)
        known = _parts(parts)
        report: list[str] = []
        for name in options.only:
            print(f"{time.monotonic() - began:6.0f} s: {name}", file=sys.stderr, flush=True)
            try:
                lines = known[name]()
            except Failed as error:
                failed, lines = True, str(error).splitlines()
            except Exception:
                failed, lines = True, traceback.format_exc().splitlines()
            report += ["", f"{name}:", *(f"  {line}" for line in lines)]
    print(_machine())
    print("\n".join(report))
    print(f"\n{len(options.only)} parts in {time.monotonic() - began:.0f} s")
    sys.exit(failed)


def _parts(parts: Parts) -> dict[str, Callable[[], list[str]]]:
    """All parts by name, what matters most first."""
    return {
        "repeat": parts.repeat,
        "resume": parts.resume,
        "capture": parts.capture,
        "sd15": lambda: parts.table("sd15"),
        "sdxl": lambda: parts.table("sdxl"),
        "precision": parts.precision,
        "repeat-sdxl": lambda: parts.repeat("sdxl"),
        "resume-sdxl": lambda: parts.resume("sdxl"),
        "capture-sdxl": lambda: parts.capture("sdxl"),
        "tests": parts.tests,
    }


def _machine() -> str:
    import torch

    versions = [f"torch {torch.__version__}"]
    for name in ("diffusers", "transformers", "peft"):
        if importlib.util.find_spec(name):
            versions.append(f"{name} {importlib.import_module(name).__version__}")
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "no card"
    where = [time.strftime("%Y-%m-%d"), card, f"{os.cpu_count()} CPU cores", f"Python {platform.python_version()}"]
    return ", ".join([*where, *versions])


def _options() -> argparse.Namespace:
    names = list(_parts(Parts.__new__(Parts)))
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", type=lambda text: text.split(","), default=names, help=f"parts: {','.join(names)}")
    parser.add_argument("--seconds", type=float, default=300, help="what all parts together may take (default: 300)")
    parser.add_argument("--tiny", action="store_true", help="small models and pictures, for a CPU")
    parser.add_argument("--compile", action="store_true", help="also measure train.compile, which takes minutes")
    parser.add_argument("--work", type=Path, help="keep models, runs and logs in this folder, and use them again")
    for peer in ("kohya", "diffusers"):
        parser.add_argument(f"--{peer}", type=Path, metavar="FOLDER", help=f"checkout of {peer}")
        parser.add_argument(f"--{peer}-python", default=sys.executable, metavar="PYTHON")
    options = parser.parse_args()
    if unknown := [name for name in options.only if name not in names]:
        parser.error(f"--only: no part {', '.join(unknown)}; there are {', '.join(names)}")
    return options


if __name__ == "__main__":
    main()
