"""Trainers that run in turns: each makes some steps, then is paused for the next one's turn."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


@dataclass(frozen=True)
class Contender:
    """A trainer: what to run, and the bare loop that does the same work."""

    name: str
    floor: str
    command: tuple[str, ...]
    python: str = sys.executable
    folder: Path = ROOT
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)


class Running:
    """A trainer that runs and waits for its turn after every step."""

    def __init__(self, contender: Contender, log: Path) -> None:
        read, self._tell = os.pipe()
        hear, write = os.pipe()
        self._log = log
        command = [contender.python, str(HERE / "lockstep.py"), str(read), str(write), json.dumps(contender.settings)]
        environment = {
            **os.environ,
            "HF_HUB_OFFLINE": "1",
            "HF_HOME": str(log.parent / "hf"),
            "PYTHONWARNINGS": "ignore",
        }
        began = time.monotonic()
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [*command, *contender.command],
                cwd=contender.folder,
                env=environment,
                pass_fds=(read, write),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        os.close(read)
        os.close(write)
        self._hear = os.fdopen(hear)
        self._heard()
        self.first = time.monotonic() - began

    def _heard(self) -> float:
        line = self._hear.readline()
        if not line:
            sys.exit(f"a trainer ended early:\n{self._log.read_text()[-3000:]}")
        return float(line)

    def steps(self, count: int) -> list[float]:
        """Make `count` steps; the seconds of each."""
        found = []
        for _ in range(count):
            os.write(self._tell, b".")
            found.append(self._heard())
        return found

    def turn(self, count: int) -> float:
        """Make `count` steps; the median of their seconds without the first one, whose caches are cold."""
        return statistics.median(self.steps(count)[1:])

    def peak(self) -> float:
        """Peak memory so far, MB."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._hear.close()
        os.close(self._tell)


@contextmanager
def started(taking_part: list[Contender], logs: Path) -> Iterator[dict[str, Running]]:
    """Start all trainers, one after the other, and pause each after its first step."""
    running: dict[str, Running] = {}
    try:
        for contender in taking_part:
            running[contender.name] = Running(contender, logs / f"{contender.name}.log")
        yield running
    finally:
        for one in running.values():
            one.end()


@contextmanager
def materials(model: str, pictures: int) -> Iterator[Path]:
    """A temporary folder with a model and pictures, made in a separate process."""
    with tempfile.TemporaryDirectory(prefix="sdfleet-bench-") as folder:
        command = [sys.executable, str(HERE / "materials.py"), folder, model, str(pictures)]
        subprocess.run(command, check=True, cwd=ROOT)
        yield Path(folder)
