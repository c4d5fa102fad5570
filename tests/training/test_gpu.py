"""What only a card can show, with small models; benchmarks/gpu.py has the real sizes. Run by `make gpu`."""

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.gpu

VARIED: dict[str, Any] = {
    "network": {"dropout": 0.1, "rank_dropout": 0.2},
    "objective": {"noise_offset": 0.1, "adaptive_noise_scale": 0.05, "input_perturbation": 0.1},
    "data": {"augment": {"flip": True}, "captions": {"shuffle": True}},
    "train": {"steps": 60, "ema_decay": 0.9, "accumulation": 2, "device": "cuda"},
    "sample": {"prompts": ["a cat --s 1"], "every_steps": 25},
}


@pytest.fixture(autouse=True)
def card() -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.fail("these tests need an NVIDIA GPU that torch can use")


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_repeated_resumed_and_captured_runs_give_one_file(bench: Any, family: str, precision: str) -> None:
    from tests.training.test_repeats import StopsAfter

    def tables(**train: Any) -> dict[str, Any]:
        return {**VARIED, "train": {**VARIED["train"], "precision": precision, **train}}

    bench.train("one", family, tables())
    bench.train("two", family, tables())
    bench.train("parts", family, tables(), stop=StopsAfter(31))
    bench.train("parts", family, tables())
    bench.train("eager", family, tables(capture="off"))
    assert bench.events("one", "passes")[0]["how"].startswith("captured into")
    assert bench.digest("one") == bench.digest("two") == bench.digest("parts")
    assert bench.digest("one") == bench.digest("eager")


@pytest.mark.parametrize("capture", ["on", "off"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_step_never_waits_for_the_card(
    bench: Any, precision: str, capture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch refuses whatever would: in the pass, in the optimiser's step, in queueing the loss."""
    import torch

    from training.loop import capture as graphs
    from training.loop import deferred_report, train_state

    def refusing(function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*given: Any) -> Any:
            torch.cuda.set_sync_debug_mode("error")
            try:
                return function(*given)
            finally:
                torch.cuda.set_sync_debug_mode("default")

        return called

    for owner, name in (
        (graphs.Captured, "__call__"),
        (graphs.Eager, "__call__"),
        (train_state.TrainState, "step"),
        (deferred_report.DeferredReport, "add"),
    ):
        monkeypatch.setattr(owner, name, refusing(getattr(owner, name)))
    train = {"steps": 30, "device": "cuda", "precision": precision, "capture": capture}
    bench.train("run", tables={"train": train, "network": {"max_norm": 1.0}})
    assert len(bench.events("run", "step")) == 30


@pytest.mark.parametrize("kind", ["lora", "locon", "dora", "loha", "lokr"])
def test_every_kind_of_network_is_captured(bench: Any, kind: str) -> None:
    tables: dict[str, Any] = {"network": {"kind": kind}, "train": {"steps": 24, "device": "cuda", "precision": "bf16"}}
    bench.train("graphs", tables={**tables, "train": {**tables["train"], "capture": "on"}})
    bench.train("eager", tables={**tables, "train": {**tables["train"], "capture": "off"}})
    assert bench.digest("graphs") == bench.digest("eager")


def test_text_encoders_checkpointing_and_module_dropout_train_without_graphs(bench: Any) -> None:
    settings: list[tuple[str, dict[str, Any]]] = [
        ("network", {"text_encoder": True}),
        ("train", {"gradient_checkpointing": True}),
        ("network", {"module_dropout": 0.1}),
    ]
    for number, (table, setting) in enumerate(settings):
        tables: dict[str, Any] = {"train": {"steps": 4, "device": "cuda", "precision": "bf16"}}
        tables[table] = {**tables.get(table, {}), **setting}
        bench.train(f"run{number}", tables=tables)
        assert bench.events(f"run{number}", "passes")[0]["how"].startswith("not captured: ")
