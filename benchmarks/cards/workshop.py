"""The benchmark's working folder (models, pictures, configs, runs) and its processes, with a time limit."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cards import models
from training.loop import determinism

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LEAST_SECONDS = 20
"""With less time left, nothing is started."""


class Failed(Exception):
    """A part failed; the text says why."""


class NoTime(Failed):
    """The time limit is too near to start a part, or was reached in it."""


@dataclass(frozen=True)
class Job:
    """One training with our trainer."""

    config: Path
    run: Path

    @property
    def sha256(self) -> str:
        """The sha256 of the LoRA file."""
        file = self.run / "output" / "cat.safetensors"
        if not file.is_file():
            raise Failed(f"{self.run.name} ended without a LoRA")
        return hashlib.sha256(file.read_bytes()).hexdigest()

    @property
    def events(self) -> list[dict[str, object]]:
        log = self.run / "log.jsonl"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    @property
    def losses(self) -> list[float]:
        """The loss of each step."""
        return [float(str(event["loss"])) for event in self.events if event["event"] == "step"]

    @property
    def passes(self) -> str:
        """How its passes ran: captured or eager, and why."""
        return next((str(event["how"]) for event in self.events if event["event"] == "passes"), "unknown")


@dataclass(frozen=True)
class Speed:
    """The measurements of one trainer."""

    first: float
    """Seconds from the start of the process (or of the run, if it shares one) to the end of the first step."""
    it_s: float
    peak_mb: int


class Workshop:
    """State shared by the parts of the benchmark; `seconds` is the time limit for all of them."""

    def __init__(self, folder: Path, seconds: float, *, tiny: bool) -> None:
        self.folder, self.tiny = folder, tiny
        self._end = time.monotonic() + seconds

    def resolution(self, kind: str) -> int:
        """Side of the pictures."""
        return 64 if self.tiny else {"sd15": 512, "sdxl": 1024}[kind]

    def model(self, kind: str) -> Path:
        """The model's folder; made on first use, with pictures of its size beside it."""
        folder = self.folder / kind / "model"
        if not (folder / "model_index.json").exists():
            models.pictures(folder.parent, self.resolution(kind))
            self.execute(f"{kind}-model", [sys.executable, HERE / "models.py", folder, kind, *self._tiny_word()])
        return folder

    def _tiny_word(self) -> list[str]:
        return ["tiny"] if self.tiny else []

    def job(self, kind: str, tag: str, steps: int, train: str = "", data: str = "", precision: str = "bf16") -> Job:
        """A run with its own caches; `train` and `data` are added to these tables of its config."""
        model, base = self.model(kind), self.folder / kind
        config = base / f"{tag}.toml"
        config.write_text(
            f"""name = "cat"
model = {{ checkpoint = "{model}" }}
network = {{ rank = 8, alpha = 8 }}
schedule = {{ kind = "constant" }}
save = {{ checkpoint_every_steps = {max(1, steps // 3)} }}
log = {{ every_steps = 1 }}
[data]
folder = "{base}/pictures"
resolution = {self.resolution(kind)}
buckets = {{ enabled = false }}
cache_folder = "{base}/cache-{tag}"
{data}
[train]
steps = {steps}
seed = 1
precision = "{precision}"
{train}
"""
        )
        return Job(config, base / f"run-{tag}")

    def train(self, jobs: Sequence[Job]) -> None:
        """Train the jobs that have no result yet, one after the other in one process."""
        todo = [job for job in jobs if not (job.run / "output" / "cat.safetensors").exists()]
        if todo:
            self.execute(f"train-{todo[0].run.name}", self._command(todo))

    def kill(self, job: Job) -> None:
        """Start a run, and kill it when it has a checkpoint."""
        shutil.rmtree(job.run, ignore_errors=True)
        log = self.folder / f"killed-{job.run.name}.log"
        self.left()
        with log.open("wb") as out:
            process = subprocess.Popen(self._command([job]), cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)
            while not list(job.run.glob("checkpoint/step-*.pt")):
                if process.poll() is not None or time.monotonic() > self._end:
                    process.kill()
                    process.wait()
                    raise Failed(f"the run ended before it had a checkpoint: {_tail(log)}")
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            process.wait()
        if (job.run / "output" / "cat.safetensors").exists():
            raise Failed("the run ended before it could be killed; use more steps")

    @staticmethod
    def _command(jobs: Sequence[Job]) -> list[str]:
        return [sys.executable, str(HERE / "runs.py"), *(f"{job.config}={job.run}" for job in jobs)]

    @staticmethod
    def speed(job: Job) -> Speed:
        """Speed of a finished training after its first quarter, from the times in its log. Raises Failed."""
        if not (job.run / "measured.json").exists():
            raise Failed("not trained")
        measured = json.loads((job.run / "measured.json").read_text())
        times = [float(str(event["time"])) for event in job.events if event["event"] == "step"]
        if len(times) < 4:
            raise Failed("ended early")
        skipped = max(1, len(times) // 4)
        it_s = (len(times) - skipped) / max(times[-1] - times[skipped - 1], 1e-9)
        return Speed(times[0] - measured["began"], it_s, measured["peak_mb"])

    def left(self) -> float:
        """Seconds left. Raises Failed if they are too few to start anything."""
        left = self._end - time.monotonic()
        if left < LEAST_SECONDS:
            raise NoTime("skipped: no time left; choose parts with --only, or give more with --seconds")
        return left

    def execute(self, name: str, command: Sequence[object], cwd: Path = ROOT) -> float:
        """Run a program and return its seconds. Raises Failed with its last lines."""
        log, began = self.folder / f"{name}.log", time.monotonic()
        environment = {
            **os.environ,
            "BORN": str(began),
            # cuBLAS reads it only once, at its first product, but runs with different settings share a process.
            determinism.WORKSPACE: determinism.WORKSPACES[0],
            "HF_HUB_OFFLINE": "1",
            "HF_HOME": str(self.folder / "hf"),
            "PYTHONWARNINGS": "ignore",
            "TOKENIZERS_PARALLELISM": "false",
        }
        with log.open("wb") as out:
            try:
                done = subprocess.run(
                    [str(word) for word in command],
                    cwd=cwd,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    timeout=self.left(),
                )
            except subprocess.TimeoutExpired as error:
                raise NoTime(f"{name} did not finish within the time limit") from error
        if done.returncode:
            raise Failed(f"{name} failed with exit code {done.returncode}: {_tail(log)}")
        return time.monotonic() - began


def _tail(log: Path) -> str:
    return " / ".join(log.read_text(errors="replace").strip().splitlines()[-4:])[-500:]
