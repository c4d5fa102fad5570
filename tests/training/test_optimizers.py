"""Optimisers and schedules by kohya's names."""

import typing

import pytest
import torch

from tests.training.workbench import Workbench
from training.config import Optimizer, Schedule
from training.errors import InputError
from training.loop import optimizers
from training.sections.optimisation import OptimizerKind, ScheduleKind

pytestmark = pytest.mark.slow

KINDS = typing.get_args(OptimizerKind)
ADAPTIVE = ("Prodigy", "DAdapt")


def fit(settings: Optimizer, schedule: Schedule, steps: int = 60) -> tuple[float, list[float]]:
    """Fit three numbers; returns the last squared error, 3 at the start, and the rates."""
    weights = torch.nn.Parameter(torch.zeros(3))
    optimizer = optimizers.make_optimizer(settings, [{"params": [weights], "lr": settings.learning_rate}], CPU)
    plan = optimizers.make_schedule(schedule, optimizer, steps)
    if hasattr(optimizer, "train"):
        optimizer.train()
    rates, loss = [], torch.tensor(0.0)
    for _ in range(steps):
        loss = ((weights - 1) ** 2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        plan.step()
        optimizer.zero_grad()
    return ((weights - 1) ** 2).sum().item(), rates


CPU = torch.device("cpu")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore")
def test_every_optimiser_learns(kind: str) -> None:
    rate = 1.0 if kind.startswith(ADAPTIVE) else 0.05
    error, _ = fit(Optimizer.model_validate({"kind": kind, "learning_rate": rate}), Schedule(kind="constant"), 300)
    assert error < 2.9


@pytest.mark.parametrize("kind", optimizers.FALLBACKS)
def test_8bit_without_a_gpu_falls_back_and_says_so(kind: str) -> None:
    settings = Optimizer.model_validate({"kind": kind})
    with pytest.warns(UserWarning, match=f"{kind} needs a CUDA GPU and bitsandbytes; training with"):
        optimizers.make_optimizer(settings, [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 1e-4}], CPU)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(optimizers.OPTIMIZERS, "Lion", ("no_such_module", "Lion", "lion-pytorch"))
    with pytest.raises(InputError, match="Lion needs the package lion-pytorch; install it: pip install lion-pytorch"):
        fit(Optimizer(kind="Lion"), Schedule())


@pytest.mark.parametrize("kind", typing.get_args(ScheduleKind))
def test_every_schedule_runs(kind: str) -> None:
    settings = Optimizer(kind="Adafactor" if kind == "adafactor" else "AdamW", learning_rate=0.1)
    _, rates = fit(settings, Schedule.model_validate({"kind": kind, "warmup_steps": 0.5 if "constant" in kind else 10}))
    assert all(rate >= 0 for rate in rates)


def test_shapes_of_schedules() -> None:
    def rates(**settings: object) -> list[float]:
        return fit(Optimizer(learning_rate=1.0), Schedule.model_validate(settings), 100)[1]

    warm = rates(kind="cosine", warmup_steps=10)
    assert warm[0] == 0.0
    assert warm[5] == pytest.approx(0.5)
    assert warm[10] == 1.0
    assert warm[55] == pytest.approx(0.5)
    assert rates(kind="constant_with_warmup", warmup_steps=0.2)[10] == pytest.approx(0.5)
    assert rates(kind="linear")[50] == pytest.approx(0.5)
    restarts = rates(kind="cosine_with_restarts", cycles=4)
    assert [restarts[at] for at in (0, 25, 50, 75)] == [1.0] * 4
    stable = rates(kind="warmup_stable_decay", warmup_steps=10, decay_steps=0.2, min_ratio=0.1)
    assert stable[5] == pytest.approx(0.55) and stable[10] == stable[79] == 1.0
    assert stable[90] == pytest.approx(0.55)
    assert rates(kind="cosine_with_min_lr", min_ratio=0.5)[50] == pytest.approx(0.75)
    assert rates(kind="polynomial", power=2.0)[50] == pytest.approx(0.25, abs=1e-3)


def test_a_fall_longer_than_the_run_is_refused() -> None:
    with pytest.raises(InputError, match=r"decay_steps \(70\) are more than the run's 60 steps"):
        fit(Optimizer(), Schedule(kind="warmup_stable_decay", decay_steps=70))


@pytest.mark.parametrize("kind", ["AdamWScheduleFree", "Prodigy"])
def test_optimisers_with_state_of_their_own_resume_to_the_bit(bench: Workbench, kind: str) -> None:
    from tests.training.test_repeats import StopsAfter

    tables = {"optimizer": {"kind": kind, "learning_rate": 1.0 if kind == "Prodigy" else 1e-3}}
    bench.train("whole", tables=tables)
    bench.train("parts", tables=tables, stop=StopsAfter(2))
    bench.train("parts", tables=tables)
    assert bench.digest("parts") == bench.digest("whole")


def test_rates_of_text_encoder_and_unet_differ(bench: Workbench) -> None:
    rates = {"unet_learning_rate": 2e-3, "text_encoder_learning_rate": 5e-4}
    bench.train("run", tables={"network": {"text_encoder": True}, "optimizer": rates, "schedule": {"kind": "constant"}})
    step = bench.events("run", "step")[0]
    assert (step["lr"], step["lr_text_encoder"]) == (2e-3, 5e-4)
