"""Half precision: the automatic choice, loss scaling, and overflows."""

import math
from typing import Any

import torch

from training.errors import InputError, TrainingError
from training.loop.prepare import device_of
from training.sections.optimisation import Optimizer, Train

BF16_CAPABILITY = (8, 0)
"""CUDA compute capability from which GPUs support bf16; older ones have fp16 only."""
FP16_SCALE = 2.0**16
"""Initial loss scale with fp16; GradScaler halves it at every overflow and doubles it after FP16_GROWTH steps without
one."""
FP16_GROWTH = 2000
NEVER = 2**31 - 1


def resolve_precision(train: Train) -> Train:
    """The settings with "auto" of train.precision resolved for this machine.

    Raises InputError if full_precision = false does not fit the precision.
    """
    if train.precision != "auto":
        return train
    device, precision = device_of(train.device), "fp32"
    if device.type == "cuda":
        precision = "bf16" if torch.cuda.get_device_capability(device) >= BF16_CAPABILITY else "fp16"
    if precision != "bf16" and not train.full_precision:
        raise InputError(
            f'train.full_precision = false needs precision = "bf16", and train.precision = "auto" is {precision} here '
            "(bf16 needs a GPU of compute capability 8.0); remove full_precision, or set precision"
        )
    return train.model_copy(update={"precision": precision})


def grad_scaler(precision: str, device: torch.device) -> torch.amp.GradScaler:
    """Scales the loss with fp16; with every precision it skips steps whose gradients are not finite.

    On Apple's GPUs (mps) it is enabled with fp16 only.
    """
    half = precision == "fp16"
    scaler = torch.amp.GradScaler(
        device.type,
        init_scale=FP16_SCALE if half else 1.0,
        growth_interval=FP16_GROWTH if half else NEVER,
        enabled=half or device.type != "mps",
    )
    # It creates its scale at the first loss, and a process that shares a step may have none.
    scaler.scale(torch.zeros((), device=device))
    return scaler


class OverflowCounter:
    """Counts skipped steps, and ends a run whose loss stays NaN or infinite."""

    def __init__(self, train: Train, optimizer: Optimizer) -> None:
        self.skipped = 0
        """Steps whose gradients overflowed; they change no weight."""
        self._train, self._optimizer = train, optimizer
        self._in_a_row = 0

    def record(self, step: int, loss: float, overflowed: bool) -> None:
        """Count a step. Raises TrainingError if the loss was not finite for train.nan_steps steps in a row."""
        self.skipped += overflowed
        self._in_a_row = 0 if math.isfinite(loss) else self._in_a_row + 1
        if self._in_a_row >= self._train.nan_steps:
            since = f"since step {step - self._in_a_row + 1}, " if self._in_a_row > 1 else ""
            raise TrainingError(
                f"the loss became {loss} at step {step} ({since}{self._in_a_row} in a row, train.nan_steps); training "
                f"stopped, the last checkpoint is kept. Try {'; or '.join(self._remedies())}"
            )

    def _remedies(self) -> list[str]:
        train, optimizer = self._train, self._optimizer
        found = [f"a lower optimizer.learning_rate (is {optimizer.learning_rate:g})"]
        if train.precision == "fp16":
            found.insert(0, 'train.precision = "bf16" ("fp32" on cards older than compute capability 8.0)')
        if not train.full_precision:
            found.insert(0, "train.full_precision = true")
        if not optimizer.max_grad_norm:
            found.append("optimizer.max_grad_norm = 1")
        return found

    def state(self) -> dict[str, Any]:
        """The counters, for a checkpoint."""
        return {"skipped": self.skipped, "in_a_row": self._in_a_row}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the counters from a checkpoint."""
        self.skipped, self._in_a_row = state["skipped"], state["in_a_row"]
