"""Losses are read some steps late, so that the host never waits for the step that it has just queued."""

from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor

LAG = 2
"""Steps queued behind the one whose loss is read: the GPU has work while Python prepares the next step."""

Rates = dict[str, float]
Report = Callable[[int, Tensor, Rates], None]
"""Called with a step, its values (loss, overflow) on the host, and its learning rates."""


class DeferredReport:
    """Copies the values of steps to the host and passes them to `report`, in order."""

    def __init__(self, device: torch.device, report: Report) -> None:
        self._cuda = device.type == "cuda"
        self._report = report
        self._waiting: deque[tuple[int, Tensor, torch.cuda.Event | None, Rates]] = deque()

    def add(self, step: int, values: Tensor, rates: Rates) -> None:
        """Queue the copy of a step's values, and report the step LAG steps before it."""
        value, done = values, None
        if self._cuda:
            # Not .item(): that waits for everything queued, this step included.
            value = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            value.copy_(values, non_blocking=True)
            done = torch.cuda.Event()  # type: ignore[no-untyped-call]
            done.record()
        self._waiting.append((step, value, done, rates))
        while len(self._waiting) > LAG:
            self._report_first()

    def flush(self) -> None:
        """Report all steps that are waiting."""
        while self._waiting:
            self._report_first()

    def _report_first(self) -> None:
        step, value, done, rates = self._waiting.popleft()
        if done is not None:
            done.synchronize()
        self._report(step, value, rates)
