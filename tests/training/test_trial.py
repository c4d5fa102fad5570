"""The small run by which an update compares trainers: it trains, and its losses repeat to the bit."""

import json
from pathlib import Path

import pytest
import torch

from training.config import load_config
from training.run.runner import train_in
from training.run.trial import PICTURES, STEPS, write_trial
from training.signals import Stop

pytestmark = pytest.mark.slow


def losses(folder: Path, run: str) -> list[float]:
    torch.set_num_threads(1)
    train_in(load_config(folder / "config.toml"), folder / run, Stop())
    record = json.loads((folder / run / "run.json").read_text())
    assert record["ended"]["how"] == "finished" and isinstance(record["machine"]["gpus"], list)
    events = [json.loads(line) for line in (folder / run / "log.jsonl").read_text().splitlines()]
    steps = [event for event in events if event["event"] == "step"]
    assert all({"time", "memory_mb"} <= step.keys() for step in steps)
    return [step["loss"] for step in steps]


def test_its_losses_repeat_to_the_bit(tmp_path: Path) -> None:
    write_trial(tmp_path)
    assert len([*(tmp_path / "pictures").glob("*.png")]) == PICTURES
    first = losses(tmp_path, "first")
    assert len({*first}) == len(first) == STEPS
    assert losses(tmp_path, "second") == first
