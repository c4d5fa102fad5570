"""The parts of benchmarks/gpu.py: what each compares or measures, and the lines that it prints."""

import argparse
import functools
import itertools
import json
import statistics
import sys
from collections.abc import Callable

from benchmarks.cards import peers
from benchmarks.cards.targets import BATCHES, EQUAL, HALVES, Measured
from benchmarks.cards.workshop import HERE, ROOT, Failed, Job, Speed, Workshop
from training.run.reproduce import weights_apart


class Unequal(Failed):
    """Results that must be equal bit for bit differ."""


class Parts:
    """The parts, each of which returns its lines."""

    def __init__(self, shop: Workshop, options: argparse.Namespace) -> None:
        self.shop, self.options = shop, options
        self.measured = Measured()

    def by_name(self) -> dict[str, Callable[[], list[str]]]:
        """All parts, the most important first."""
        return {
            "repeat": self.repeat,
            "resume": self.resume,
            "capture": self.capture,
            "sd15": lambda: self.table("sd15"),
            "sdxl": lambda: self.table("sdxl"),
            "precision": self.precision,
            "repeat-sdxl": lambda: self.repeat("sdxl"),
            "resume-sdxl": lambda: self.resume("sdxl"),
            "capture-sdxl": lambda: self.capture("sdxl"),
            "tests": self.tests,
        }

    def tests(self) -> list[str]:
        """The tests that need a GPU."""
        self.shop.execute("tests", [sys.executable, "-m", "pytest", "-q", "-m", "gpu", ROOT / "tests" / "training"])
        return [(self.shop.folder / "tests.log").read_text().strip().splitlines()[-1]]

    def repeat(self, kind: str = "sd15") -> list[str]:
        """The same run twice, in two processes, with cold caches and another number of loader processes."""
        again = [self._same(kind, "again", half, data="workers = 2") for half in HALVES]
        self.shop.train([self._once(kind, half) for half in HALVES])
        self.shop.train(again)
        return self._equal(kind, again, "repeat")

    def resume(self, kind: str = "sd15") -> list[str]:
        """A run that is killed at its first checkpoint and resumed."""
        killed = [self._same(kind, "killed", half) for half in HALVES]
        for job in killed:
            self.shop.kill(job)
        self.shop.train([self._once(kind, half) for half in HALVES])
        self.shop.train(killed)
        return self._equal(kind, killed, "resume")

    def capture(self, kind: str = "sd15") -> list[str]:
        """A captured run compared with an eager one."""
        eager = [self._same(kind, "eager", half, train='capture = "off"') for half in HALVES]
        self.shop.train([self._once(kind, half) for half in HALVES])
        passes = self._once(kind, "bf16").passes
        if not passes.startswith("captured"):
            self.measured.equal |= {(kind, EQUAL["capture"], half): passes for half in HALVES}
            return [f"captured against eager: not compared ({passes})"]
        self.shop.train(eager)
        return self._equal(kind, eager, "capture")

    def precision(self) -> list[str]:
        """Losses of fp16 and bf16 compared with fp32's, step by step, and the mean of the last ten."""
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
        """Speed, memory and time to the first step of all trainers, in bf16."""
        shop = self.shop
        first, *others = jobs = self._variants(kind)
        problem = self._tried([first[1]]) or self._tried([job for _, job in others])
        rows: list[tuple[str, Callable[[], Speed]]] = [
            (f"batch {batch}: bare loop, {how}", functools.partial(self._bare, kind, batch, how))
            for batch in BATCHES
            for how in ("eager", "captured")
        ]
        rows += [(name, functools.partial(shop.speed, job)) for name, job in jobs]
        for name, batch in itertools.product(("kohya", "diffusers"), BATCHES):
            if getattr(self.options, name):
                rows.append((f"batch {batch}: {name}", functools.partial(self._peer, name, kind, batch)))
            else:
                self.measured.speeds[kind, f"batch {batch}: {name}"] = f"no checkout: --{name}"
        lines = [f"{f'{kind}, {shop.resolution(kind)} pixels, bf16':<42}{'it/s':>8}{'peak':>11}{'first step':>12}"]
        for name, measure in sorted(rows, key=lambda row: row[0].split(":")[0]):
            try:
                found = measure()
            except Failed as error:
                # A failing peer does not fail the benchmark.
                if not name.endswith(("kohya", "diffusers", "bare loop, captured")):
                    problem = problem or error
                self.measured.speeds[kind, name] = str(error)
                lines.append(f"{name:<42}{error}")
                continue
            self.measured.speeds[kind, name] = found
            peak = f"{found.peak_mb} MB" if found.peak_mb else ""
            # Only the first run of a process includes the start of the process.
            shown = f"{found.first:.1f} s" if found.first and (name == first[0] or "lora-train" not in name) else ""
            lines.append(f"{name:<42}{found.it_s:>8.2f}{peak:>11}{shown:>12}")
        if problem:
            raise type(problem)("\n".join([*lines, str(problem)]))
        return lines

    def _tried(self, jobs: list[Job]) -> Failed | None:
        """Train; returns the error, if there is one, so that the other rows are still measured."""
        try:
            self.shop.train(jobs)
        except Failed as error:
            return error
        return None

    def _variants(self, kind: str) -> list[tuple[str, Job]]:
        """Our runs, with their names in the table."""
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
            raise Failed("needs a GPU")
        first = found["first"] if (batch, how) == (BATCHES[0], "eager") else 0.0
        return Speed(first, found[how], found[f"{how}_peak_mb"])

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
        # Enough steps for a capture, and to kill the run between a checkpoint and the end.
        return self.shop.job(kind, f"{half}-{tag}", 9 if self.shop.tiny else 30, train, data, precision=half)

    def _equal(self, kind: str, others: list[Job], part: str) -> list[str]:
        lines, unequal, what = [], False, EQUAL[part]
        for half, other in zip(HALVES, others, strict=True):
            first = self._once(kind, half)
            same = self.measured.equal[kind, what, half] = first.sha256 == other.sha256
            if same:
                lines.append(f"{what}, {half}: equal, sha256 {first.sha256[:16]} ({first.passes})")
                continue
            unequal = True
            files = [job.run / "output" / "cat.safetensors" for job in (first, other)]
            apart = weights_apart(*files)
            lines.append(f"{what}, {half}: NOT EQUAL, weights {apart:.1e} apart (relative, 2-norm) ({first.passes})")
        if unequal:
            raise Unequal("\n".join(lines))
        return lines
