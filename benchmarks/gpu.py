"""The trainer on a card: reproducibility, precision in half precision, and speed.

python benchmarks/gpu.py [--only repeat,sd15] [--seconds 300] [--tiny] [--work FOLDER]
    [--kohya FOLDER --kohya-python PYTHON] [--diffusers FOLDER --diffusers-python PYTHON]

Needs no network: models of the real shapes (SD 1.5, SDXL) get random weights. Parts: tests (those marked gpu), repeat,
resume, capture (against eager), precision (losses over 60 steps) and the tables sd15 and sdxl; the first four and
precision use SD 1.5; repeat-sdxl, resume-sdxl and capture-sdxl use SDXL. If a part fails, the others continue. Peers
are your own checkouts. --tiny uses small models, which also run on a CPU.
"""

import argparse
import functools
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
from training.run.reproduce import weights_apart

HALVES = ("bf16", "fp16")
BATCHES = (1, 4)


class Unequal(Failed):
    """Results that must be bit-identical are not."""


class Parts:
    """The parts, each of which returns its lines."""

    def __init__(self, shop: Workshop, options: argparse.Namespace) -> None:
        self.shop, self.options = shop, options

    def tests(self) -> list[str]:
        """The tests that need a card."""
        self.shop.execute("tests", [sys.executable, "-m", "pytest", "-q", "-m", "gpu", ROOT / "tests" / "training"])
        return [(self.shop.folder / "tests.log").read_text().strip().splitlines()[-1]]

    def repeat(self, kind: str = "sd15") -> list[str]:
        """Train twice in two processes, then with cold caches, and with other loaders."""
        again = [self._same(kind, "again", half, data="workers = 2") for half in HALVES]
        self.shop.train([self._once(kind, half) for half in HALVES])
        self.shop.train(again)
        return self._equal(kind, again, "repeat")

    def resume(self, kind: str = "sd15") -> list[str]:
        """Kill a run at its first checkpoint and resume it."""
        killed = [self._same(kind, "killed", half) for half in HALVES]
        for job in killed:
            self.shop.kill(job)
        self.shop.train([self._once(kind, half) for half in HALVES])
        self.shop.train(killed)
        return self._equal(kind, killed, "resume after a kill")

    def capture(self, kind: str = "sd15") -> list[str]:
        """Compare with the same run without graphs."""
        eager = [self._same(kind, "eager", half, train='capture = "off"') for half in HALVES]
        self.shop.train([self._once(kind, half) for half in HALVES])
        self.shop.train(eager)
        if not self._once(kind, "bf16").passes.startswith("captured"):
            return [f"captured against eager: not compared ({self._once(kind, 'bf16').passes})"]
        return self._equal(kind, eager, "captured against eager")

    def precision(self) -> list[str]:
        """Compare losses of fp16 and bf16 with fp32's, step by step, and over the last ten."""
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
        """Speed, memory and first step of all trainers, in bf16."""
        shop = self.shop
        first, *others = jobs = self._variants(kind)
        problem = self._tried(lambda: shop.train([first[1]])) or self._tried(
            lambda: shop.train([job for _, job in others])
        )
        rows: list[tuple[str, Callable[[], Speed]]] = [
            (f"batch {batch}: bare loop, {how}", functools.partial(self._bare, kind, batch, how))
            for batch in BATCHES
            for how in ("eager", "captured")
        ]
        rows += [(name, functools.partial(shop.speed, job)) for name, job in jobs]
        for name in ("kohya", "diffusers"):
            if getattr(self.options, name):
                rows += [(f"batch {n}: {name}", functools.partial(self._peer, name, kind, n)) for n in BATCHES]
        lines = [f"{f'{kind}, {shop.resolution(kind)} pixels, bf16':<42}{'it/s':>8}{'peak':>11}{'first step':>12}"]
        for name, measure in sorted(rows, key=lambda row: row[0].split(":")[0]):
            try:
                found = measure()
            except Failed as error:
                lines.append(f"{name:<42}{error}")
                continue
            peak = f"{found.peak_mb} MB" if found.peak_mb else ""
            # Runs that share a process have no start-up of their own.
            shown = f"{found.first:.1f} s" if found.first and (name == first[0] or "lora-train" not in name) else ""
            lines.append(f"{name:<42}{found.it_s:>8.2f}{peak:>11}{shown:>12}")
        return [*lines, problem] if problem else lines

    @staticmethod
    def _tried(train: Callable[[], None]) -> str:
        """The error, if any: the other figures count all the same."""
        try:
            train()
        except Failed as error:
            return str(error)
        return ""

    def _variants(self, kind: str) -> list[tuple[str, Job]]:
        """Our runs, by their name in the table."""
        steps = 8 if self.shop.tiny else {"sd15": 120, "sdxl": 40}[kind]
        variants = {
            "": (steps, ""),
            ", not deterministic": (steps, "deterministic = false"),
            ", not captured": (max(8, steps // 3), 'capture = "off"'),
        }
        if self.options.compile:
            variants[", compiled"] = (steps, "compile = true")
        found = []
        for batch in BATCHES:
            for number, (what, (count, train)) in enumerate(variants.items()):
                job = self.shop.job(kind, f"speed-{batch}-{number}", count, f"batch_size = {batch}\n{train}")
                found.append((f"batch {batch}: lora-train{what}", job))
        return found

    def _bare(self, kind: str, batch: int, how: str) -> Speed:
        result = self.shop.folder / f"bare-{kind}.json"
        if not result.exists():
            batches = ",".join(map(str, BATCHES))
            steps = 3 if self.shop.tiny else 20
            words = [self.shop.model(kind), kind, self.shop.resolution(kind), batches, steps, result]
            self.shop.execute(result.stem, [sys.executable, HERE / "bare.py", *words])
        found = json.loads(result.read_text())[str(batch)]
        if how not in found:
            raise Failed("needs a card")
        return Speed(found["first"] if (batch, how) == (BATCHES[0], "eager") else 0.0, found[how], found["peak_mb"])

    def _peer(self, name: str, kind: str, batch: int) -> Speed:
        steps = 8 if self.shop.tiny else {"sd15": 40, "sdxl": 16}[kind]
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
    """Run the parts and print their results at the end."""
    options = _options()
    if not options.tiny and (missing := _no_card()):
        sys.exit(f"error: {missing}")
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
    """All parts by name, the most important first."""
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


def _no_card() -> str:
    """Why nothing can be measured on this machine; empty if it has an NVIDIA GPU."""
    import torch

    if torch.cuda.is_available():
        return ""
    return (
        f"torch {torch.__version__} finds no NVIDIA GPU here, so there is nothing to measure; check the driver "
        "(nvidia-smi) and that torch was built for CUDA. --tiny tries every part with small models on a CPU"
    )


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
    parser.add_argument("--seconds", type=float, default=300, help="time limit for all parts together (default: 300)")
    parser.add_argument("--tiny", action="store_true", help="small models and pictures, for a CPU")
    parser.add_argument("--compile", action="store_true", help="also measure train.compile, which takes minutes")
    parser.add_argument("--work", type=Path, help="keep models, runs and logs in this folder and reuse them")
    for peer in ("kohya", "diffusers"):
        parser.add_argument(f"--{peer}", type=Path, metavar="FOLDER", help=f"checkout of {peer}")
        parser.add_argument(f"--{peer}-python", default=sys.executable, metavar="PYTHON")
    options = parser.parse_args()
    if unknown := [name for name in options.only if name not in names]:
        parser.error(f"--only: no part {', '.join(unknown)}; there are {', '.join(names)}")
    return options


if __name__ == "__main__":
    main()
