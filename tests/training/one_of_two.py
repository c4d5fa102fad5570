"""One of two processes of a run, forked from a server that has imported the trainer: two starts a test take longer."""

import hashlib
import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import Tensor

from training import config
from training.loop import objective, train_state
from training.run.runner import train_in
from training.signals import Stop


def train_both(file: Path, run: Path, place: Mapping[str, str]) -> list[str]:
    """Train the config in `file` with two processes; what each says in the end.

    Of the second one's losses the second is infinite. Each says which steps were taken, the digest of its weights,
    and the scale of its losses.
    """
    forks = get_context("forkserver")
    forks.set_forkserver_preload([__name__, "diffusers", "peft", "transformers"])
    with ProcessPoolExecutor(2, forks) as pool:
        both = [pool.submit(_train, file, run, {**place, "RANK": rank, "LOCAL_RANK": rank}) for rank in ("0", "1")]
        return [one.result(timeout=300) for one in both]


def _train(file: Path, run: Path, place: Mapping[str, str]) -> str:
    os.environ.update(place)
    torch.set_num_threads(1)
    loss, step, calls = objective.Objective.loss, train_state.TrainState.step, iter(range(1, 100))
    kept: list[train_state.TrainState] = []
    found: list[bool] = []

    def poison(self: objective.Objective, *given: object) -> Tensor:
        factor = float("inf") if next(calls) == 2 and place["RANK"] == "1" else 1.0
        return loss(self, *given) * factor  # type: ignore[arg-type]

    def watch(state: train_state.TrainState) -> Tensor:
        kept.append(state)
        found.append(bool(step(state)))
        return torch.tensor(found[-1])

    objective.Objective.loss, train_state.TrainState.step = poison, watch  # type: ignore[method-assign,assignment]
    train_in(config.load_config(file), run, Stop(), dict(os.environ))
    weights = torch.cat([parameter.detach().flatten() for parameter in kept[0].parameters])
    return f"{found} {hashlib.sha256(weights.numpy().tobytes()).hexdigest()} {kept[0].scaler.get_scale()}"
