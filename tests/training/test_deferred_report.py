"""Losses are reported in order, some steps late, and all of them on flush."""

import pytest
import torch

from training.loop.deferred_report import LAG, DeferredReport

pytestmark = pytest.mark.slow


def test_losses_come_in_order_and_late_and_all_in_the_end() -> None:
    reported: list[tuple[int, float, float]] = []
    late = DeferredReport(
        torch.device("cpu"), lambda step, told, rates: reported.append((step, told.item(), rates["lr"]))
    )
    for step in range(1, 6):
        late.add(step, torch.tensor(step / 2), {"lr": step / 10})
        assert [entry[0] for entry in reported] == list(range(1, step + 1 - LAG))
    late.flush()
    assert reported == [(step, step / 2, step / 10) for step in range(1, 6)]
    late.flush()
    assert len(reported) == 5
