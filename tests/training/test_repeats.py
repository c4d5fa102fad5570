"""The same config gives the same file: again, with other workers, with cold or warm caches, interrupted or not."""

import multiprocessing
import random
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from tests.training.workbench import Workbench
from training.signals import Stop

pytestmark = pytest.mark.slow

VARIED: dict[str, Any] = {
    "data": {"augment": {"flip": True}, "captions": {"shuffle": True, "dropout": 0.2, "tag_dropout": 0.2}},
    "network": {"dropout": 0.1, "rank_dropout": 0.2, "module_dropout": 0.1},
    "objective": {"noise_offset": 0.1, "input_perturbation": 0.1},
    "train": {"steps": 6, "ema_decay": 0.9, "accumulation": 2},
    "schedule": {"kind": "cosine", "warmup_steps": 2},
}
"""Everything that draws random numbers."""


class StopsAfter(Stop):
    """Asks to stop after so many steps were looked at."""

    def __init__(self, steps: int) -> None:
        self._left = steps - 1

    @property
    def asked(self) -> bool:  # type: ignore[override]
        self._left -= 1
        return self._left < 0


def test_three_runs_give_the_same_file_whatever_workers_and_caches(bench: Workbench) -> None:
    for run, workers, cache, encode in (
        ("one", 0, "a", "along"),
        ("two", 2, "a", "auto"),
        ("three", 1, "b", "auto"),
        ("four", 0, "c", "ahead"),
    ):
        data = {**VARIED["data"], "workers": workers, "cache_folder": str(bench.folder / cache), "encode": encode}
        bench.train(run, tables={**VARIED, "data": data})
    assert bench.digest("one") == bench.digest("two") == bench.digest("three") == bench.digest("four")


def test_seed_decides(bench: Workbench) -> None:
    bench.train("one", tables={"train": {"seed": 1}})
    bench.train("two", tables={"train": {"seed": 2}})
    assert bench.digest("one") != bench.digest("two")


@pytest.mark.parametrize("after", [1, 2, 5])
def test_stopped_on_request_and_resumed_is_the_same_to_the_bit(bench: Workbench, after: int) -> None:
    bench.train("whole", tables=VARIED)
    said = bench.train("parts", tables=VARIED, stop=StopsAfter(after))
    assert said.startswith("stopped; go on with: lora-train run")
    assert not bench.file("parts").exists()
    bench.train("parts", tables=VARIED)
    assert bench.events("parts", "start")[1]["resumed"]
    assert bench.digest("parts") == bench.digest("whole")


def test_killed_at_random_moments_with_other_workers_is_the_same_to_the_bit(bench: Workbench) -> None:
    tables = {**VARIED, "train": {**VARIED["train"], "steps": 40}, "save": {"checkpoint_every_steps": 3}}
    bench.train("whole", tables=tables)
    draw = random.Random(7)
    for life in range(5):
        workers = {**tables, "data": {**VARIED["data"], "workers": life % 3}}
        process = multiprocessing.get_context("fork").Process(target=bench.train, args=("killed", "sd1", workers))
        process.start()
        wait_for_steps(bench, process, draw.randrange(4, 8))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    bench.train("killed", tables=tables)
    assert sum(event["resumed"] for event in bench.events("killed", "start")) >= 4
    assert bench.digest("killed") == bench.digest("whole")
    assert not list(Path(bench.folder / "killed").rglob("*.part"))


def test_a_finished_run_is_left_alone(bench: Workbench) -> None:
    bench.train("one")
    before = bench.file("one").stat().st_mtime_ns
    assert "is finished already (4 steps); nothing to do" in bench.train("one")
    assert bench.file("one").stat().st_mtime_ns == before


def wait_for_steps(bench: Workbench, process: BaseProcess, more: int) -> None:
    """Until the run has made `more` steps in this life."""
    log = bench.folder / "killed" / "log.jsonl"
    known = _steps(log)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.is_alive():
        if _steps(log) >= known + more:
            return
        time.sleep(0.01)
    raise AssertionError("the run made no steps in a minute")


def _steps(log: Path) -> int:
    return log.read_text().count('"event": "step"') if log.exists() else 0
