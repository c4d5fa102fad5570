"""Losses that are read some steps later, so that the host never waits for the step that it has just queued."""

from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor

LAG = 2
"""Steps that are queued behind the one whose loss is read: a GPU has work while Python prepares the next step."""

Rates = dict[str, float]
Report = Callable[[int, Tensor, Rates], None]
"""Called with a step, what is told of it (its loss), now on the host, and its learning rates."""


class LateLosses:
    """Losses on their way from the device to `report`, in the order of the steps."""

    def __init__(self, device: torch.device, report: Report) -> None:
        self._cuda = device.type == "cuda"
        self._report = report
        self._waiting: deque[tuple[int, Tensor, torch.cuda.Event | None, Rates]] = deque()

    def add(self, step: int, told: Tensor, rates: Rates) -> None:
        """Queue the copy of what is told of a step, and report what is LAG steps old."""
        value, done = told, None
        if self._cuda:
            # Not .item(): that waits for all that is queued, this step included.
            value = torch.empty(told.shape, dtype=told.dtype, pin_memory=True)
            value.copy_(told, non_blocking=True)
            done = torch.cuda.Event()  # type: ignore[no-untyped-call]
            done.record()
        self._waiting.append((step, value, done, rates))
        while len(self._waiting) > LAG:
            self._report_first()

    def flush(self) -> None:
        """Report all that is waiting."""
        while self._waiting:
            self._report_first()

    def _report_first(self) -> None:
        step, value, done, rates = self._waiting.popleft()
        if done is not None:
            done.synchronize()
        self._report(step, value, rates)
