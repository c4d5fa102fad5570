"""Half precision: what is kept in which format, steps that overflow, runs that become NaN."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.training.one_of_two import train_both
from tests.training.test_processes import PASSES, PICTURES
from tests.training.test_processes import _free_port as free_port
from tests.training.test_repeats import VARIED, StopsAfter
from tests.training.workbench import Workbench
from training.base.loading import BaseModel
from training.config import Config
from training.data import pictures
from training.errors import InputError, TrainingError
from training.loop import precision, train_state
from training.loop.fingerprint import fingerprint
from training.loop.objective import Objective
from training.loop.prepare import DTYPES, prepare
from training.lora import export
from training.lora import network as networks
from training.run_folder import RunFolder, as_toml

pytestmark = pytest.mark.slow

HALF = ("fp16", "bf16")
APART = {"fp16": 0.002, "bf16": 0.01}
"""How far the mean loss over 60 steps may be from fp32's, relative. Measured: 1.8e-5 and 2.5e-4."""


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[train_state.TrainState]:
    """The states of the runs that are made meanwhile; their class keeps the gradients' formats."""
    found: list[train_state.TrainState] = []
    step = train_state.TrainState.step

    def watched(state: train_state.TrainState) -> torch.Tensor:
        if state not in found:
            found.append(state)
        for parameter in state.parameters:
            if parameter.grad is not None:
                formats.add(parameter.grad.dtype)
        return step(state)

    formats: set[torch.dtype] = set()
    monkeypatch.setattr(train_state.TrainState, "step", watched)
    monkeypatch.setattr(train_state.TrainState, "formats", formats, raising=False)
    return found


def formats_of(state: train_state.TrainState) -> set[torch.dtype]:
    """The number formats of trained weights, gradients, the optimiser's state and averages."""
    kept = {value.dtype for one in state.optimizer.state.values() for name, value in one.items() if name != "step"}
    averages = {value.dtype for value in state.average.values.values()} if state.average else set()
    gradients: set[torch.dtype] = state.formats  # type: ignore[attr-defined]
    assert kept and gradients
    return {parameter.dtype for parameter in state.parameters} | gradients | kept | averages


@pytest.mark.parametrize("format_", ["fp32", *HALF])
@pytest.mark.parametrize("kind", ["lora", "locon", "dora", "loha", "lokr"])
def test_what_is_trained_is_fp32_over_a_base_in_half_precision(
    bench: Workbench, kind: str, format_: str, seen: list[train_state.TrainState], monkeypatch: pytest.MonkeyPatch
) -> None:
    bases: list[nn.Module] = []
    for part in ("unet", "text_encoders"):
        load = getattr(BaseModel, part)

        def watched(self: BaseModel, dtype: torch.dtype, load: Any = load) -> Any:
            made = load(self, dtype)
            bases.extend(made if isinstance(made, list) else [made])
            return made

        monkeypatch.setattr(BaseModel, part, watched)
    tables = {
        "network": {"kind": kind, "text_encoder": True, "conv_rank": 2},
        "train": {"precision": format_, "steps": 2, "accumulation": 2, "ema_decay": 0.9},
    }
    bench.train("run", tables=tables)
    assert formats_of(seen[0]) == {torch.float32}
    trained = {id(parameter) for parameter in seen[0].parameters}
    frozen = {p.dtype for base in bases for p in base.parameters() if id(p) not in trained}
    assert len(bases) == 2 and frozen == {DTYPES[format_]}
    assert all(value.isfinite().all() for value in bench.tensors("run").values())
    moved = [value for name, value in bench.tensors("run").items() if "lora_up" in name or name.endswith("w2_b")]
    assert all(value.any() for value in moved)


@pytest.mark.parametrize("wanted", ["bf16", "fp32"])
def test_full_precision_false_alone_lowers_the_trained_weights(
    bench: Workbench, wanted: str, seen: list[train_state.TrainState]
) -> None:
    train = {"precision": "bf16", "full_precision": wanted == "fp32", "ema_decay": 0.9}
    bench.train("run", tables={"train": train})
    assert formats_of(seen[0]) == {DTYPES[wanted]}


@pytest.mark.parametrize("format_", HALF)
def test_a_dora_begins_as_its_base_model(bench: Workbench, format_: str) -> None:
    base = BaseModel(bench.config().model)
    settings = bench.config(tables={"network": {"kind": "dora", "conv_rank": 2}}).network
    unet = base.unet(DTYPES[format_])
    magnitudes = {
        name: value for name, value in networks.attach(settings, 1, "sd1", unet, []).named() if "dora_scale" in name
    }
    wide: Any = base.unet(torch.float32)
    for parameter in wide.parameters():
        parameter.data = parameter.data.to(DTYPES[format_]).float()
    exact = dict(networks.attach(settings, 1, "sd1", wide, []).named())
    assert len(magnitudes) > 40
    for name, value in magnitudes.items():
        assert torch.equal(value, exact[name])


EVERYTHING: Mapping[str, Any] = {
    "data": {"captions": {"shuffle": True, "weighted": True}, "augment": {"flip": True}},
    "model": {"max_token_length": 225, "clip_skip": 2},
    "sample": {"prompts": ["a cat --s 2"], "every_steps": 2},
    "validation": {"share": 0.2, "every_steps": 2, "timesteps": 2},
    "save": {"every_steps": 2, "precision": "fp16"},
    "network": {"dropout": 0.1, "rank_dropout": 0.1, "max_norm": 1.0},
}


@pytest.mark.parametrize("format_", HALF)
@pytest.mark.parametrize(
    ("family", "more"),
    [("sd1", {"gradient_checkpointing": True, "accumulation": 2}), ("sd2", {"attention": "plain"}), ("sdxl", {})],
)
def test_everything_beside_the_step_works_in_half_precision(
    bench: Workbench, family: str, format_: str, more: dict[str, Any]
) -> None:
    text = {"network": {**EVERYTHING["network"], "text_encoder": "gradient_checkpointing" in more}}
    tables = {**EVERYTHING, **text, "train": {"precision": format_, "ema_decay": 0.9, **more}}
    bench.train("run", family, tables)
    assert all(value.isfinite().all() for value in bench.tensors("run").values())
    assert len(list((bench.folder / "run" / "samples").glob("*.png"))) == 2
    losses = [event["loss"] for event in bench.events("run", "validation")]
    bench.train("wide", family, {**tables, "train": {"precision": "fp32", "ema_decay": 0.9, **more}})
    assert losses == pytest.approx([event["loss"] for event in bench.events("wide", "validation")], rel=0.02)


@pytest.mark.parametrize("format_", HALF)
def test_sixty_steps_lose_as_in_fp32(bench: Workbench, format_: str) -> None:
    means = {}
    for name in ("fp32", format_):
        bench.train(name, tables={"train": {"precision": name, "steps": 60}})
        losses = [event["loss"] for event in bench.events(name, "step")]
        means[name] = sum(losses) / len(losses)
    apart = abs(means[format_] / means["fp32"] - 1)
    print(f"{format_}: mean loss of 60 steps {apart:.1e} from fp32's")
    assert apart < APART[format_]


def by_hand(config: Config, run: RunFolder, steps: int) -> dict[str, torch.Tensor]:
    """The weights after a loop of PyTorch alone: a bf16 UNet, fp32 LoRA weights, autocast, AdamW."""
    base = BaseModel(config.model)
    prepared = prepare(
        config.data, config.train, base, pictures.find_pictures(config.data), run, lambda *_: None, (), along=False
    )
    unet: Any = base.unet(torch.bfloat16)
    network = networks.attach(config.network, config.train.seed, base.family, unet, [])
    weights = dict(network.named())
    optimizer = torch.optim.AdamW(weights.values(), lr=config.optimizer.learning_rate, fused=True)
    objective = Objective(config.objective, False, config.train.seed, torch.device("cpu"))
    for number in range(steps):
        batch = prepared.batches[number]
        assert batch.latents is not None and batch.hidden is not None
        noisy = objective.noisy(batch.latents, objective.draw(batch.latents.shape, number))
        with torch.autocast("cpu", torch.bfloat16):
            said = unet(noisy.latents.bfloat16(), noisy.timesteps, batch.hidden.bfloat16()).sample
        functional.mse_loss(said.float(), noisy.target).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(list(weights.values()), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return {name: value.detach() for name, value in weights.items()}


def test_a_small_learning_rate_moves_weights_in_bf16(bench: Workbench) -> None:
    tables: dict[str, Any] = {
        "optimizer": {"learning_rate": 1e-5},
        "schedule": {"kind": "constant"},
        "train": {"precision": "bf16", "steps": 20},
    }
    bench.train("run", tables=tables)
    config = bench.config(tables=tables)
    ours, theirs = bench.tensors("run"), by_hand(config, RunFolder(bench.folder / "hand"), 20)
    start = by_hand(config, RunFolder(bench.folder / "hand"), 0)
    bench.train("lowered", tables={**tables, "train": {**tables["train"], "full_precision": False}})
    lowered = bench.tensors("lowered")
    names = [name for name in theirs if "lora_down" in name]
    moved, apart = (
        torch.cat([(one[name] - other[name]).flatten() for name in names])
        for one, other in ((theirs, start), (ours, theirs))
    )
    assert apart.norm() < 1e-3 * moved.norm()
    assert (moved != 0).float().mean() > 0.99
    # Where the trained weights are in bf16 themselves, rounding takes most of twenty steps of 1e-5.
    still = torch.cat([(start[name].bfloat16() == lowered[name].bfloat16()).flatten() for name in names])
    print(f"unmoved in bf16: {still.float().mean():.0%}, in fp32: {(moved == 0).float().mean():.1%}")
    assert still.float().mean() > 0.3


def overflowing(monkeypatch: pytest.MonkeyPatch, steps: set[int]) -> None:
    """Let a gradient overflow at these calls of the optimiser's step."""
    step, calls = train_state.TrainState.step, iter(range(1, 1000))

    def overflow(state: train_state.TrainState) -> torch.Tensor:
        if next(calls) in steps:
            gradient = next(p.grad for p in state.parameters if p.grad is not None)
            gradient.view(-1)[0] = float("inf")
        before = [parameter.detach().clone() for parameter in state.parameters]
        overflowed = step(state)
        if overflowed:
            assert all(torch.equal(*pair) for pair in zip(before, state.parameters, strict=True))
        return overflowed

    monkeypatch.setattr(train_state.TrainState, "step", overflow)


@pytest.mark.parametrize("format_", ["fp32", *HALF])
@pytest.mark.parametrize("max_grad_norm", [0.0, 1.0])
def test_a_step_that_overflows_is_skipped_counted_and_shown(
    bench: Workbench,
    format_: str,
    max_grad_norm: float,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    overflowing(monkeypatch, {2, 3})
    tables = {"train": {"precision": format_, "steps": 5}, "optimizer": {"max_grad_norm": max_grad_norm}}
    said = bench.train("run", tables=tables)
    assert said.endswith("; 2 of them skipped, as their gradients overflowed")
    assert [event["skipped"] for event in bench.events("run", "step")] == [0, 1, 2, 2, 2]
    assert "2 skipped (gradients overflowed)" in capsys.readouterr().err
    assert json.loads((bench.folder / "run" / "run.json").read_text())["skipped_steps"] == 2
    assert all(value.isfinite().all() for value in bench.tensors("run").values())


def test_the_scale_of_fp16_is_too_large_at_first_and_finds_its_place(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch, seen: list[train_state.TrainState]
) -> None:
    """No gradient is touched: the scale is so large that scaled gradients leave fp16's range."""
    monkeypatch.setattr(precision, "FP16_SCALE", 2.0**40)
    bench.train("run", tables={"train": {"precision": "fp16", "steps": 30}})
    skipped = bench.events("run", "step")[-1]["skipped"]
    assert 0 < skipped < 30
    assert seen[0].scaler.get_scale() == 2.0 ** (40 - skipped)


@pytest.mark.parametrize("format_", HALF)
def test_interrupted_among_overflows_and_resumed_is_the_same_to_the_bit(
    bench: Workbench, format_: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "FP16_SCALE", 2.0**40)
    monkeypatch.setattr(precision, "FP16_GROWTH", 3)
    tables = {**VARIED, "train": {**VARIED["train"], "steps": 20, "precision": format_}}
    bench.train("whole", tables=tables)
    for after in (3, 9):
        assert bench.train("parts", tables=tables, stop=StopsAfter(after)).startswith("stopped")
    bench.train("parts", tables=tables)
    assert bench.digest("parts") == bench.digest("whole")
    counts = [bench.events(run, "step")[-1]["skipped"] for run in ("whole", "parts")]
    assert counts[0] == counts[1] and (counts[0] > 3) == (format_ == "fp16")


def poisoned(monkeypatch: pytest.MonkeyPatch, steps: range) -> None:
    """Let the loss of these batches be NaN."""
    loss = Objective.loss
    calls = iter(range(1, 1000))

    def poison(self: Objective, *given: Any) -> torch.Tensor:
        return loss(self, *given) * (float("nan") if next(calls) in steps else 1.0)

    monkeypatch.setattr(Objective, "loss", poison)


@pytest.mark.parametrize("format_", ["fp32", *HALF])
def test_a_loss_that_stays_nan_ends_the_run_and_writes_no_file(
    bench: Workbench, format_: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    poisoned(monkeypatch, range(4, 100))
    train = {"precision": format_, "steps": 20, "nan_steps": 3}
    with pytest.raises(TrainingError) as caught:
        bench.train("run", tables={"train": train, "save": {"checkpoint_every_steps": 2}})
    said = str(caught.value)
    assert said.startswith("the loss became nan at step 6 (since step 4, 3 in a row, train.nan_steps)")
    assert "a lower optimizer.learning_rate (is 0.001)" in said
    assert ('train.precision = "bf16"' in said) == (format_ == "fp16")
    assert not list((bench.folder / "run" / "output").iterdir())
    assert json.loads((bench.folder / "run" / "run.json").read_text())["ended"]["reason"] == said


def test_a_loss_that_is_nan_for_less_is_passed_over(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    poisoned(monkeypatch, range(2, 4))
    said = bench.train("run", tables={"train": {"steps": 5, "nan_steps": 3}})
    assert "2 of them skipped" in said
    assert [event["step"] for event in bench.events("run", "step")] == [1, 4, 5]
    assert [event["step"] for event in bench.events("run", "not finite")] == [2, 3]
    assert json.loads((bench.folder / "run" / "run.json").read_text())["ended"]["how"] == "finished"


def test_weights_that_overflow_the_format_of_the_file_are_not_written(bench: Workbench) -> None:
    tables = {"optimizer": {"learning_rate": 1e6}, "train": {"steps": 1}, "save": {"precision": "fp16"}}
    with pytest.raises(TrainingError, match="not written, the weights are not finite in fp16") as caught:
        bench.train("run", tables=tables)
    assert 'They are too large for fp16: set save.precision = "bf16" or "fp32"' in str(caught.value)
    assert not list((bench.folder / "run" / "output").iterdir())


def test_no_format_of_the_file_is_advised_where_the_weights_themselves_are_nan(tmp_path: Path) -> None:
    broken = {"lora_unet_a.lora_up.weight": torch.full((2, 2), float("nan"))}
    with pytest.raises(TrainingError, match=r"not finite in fp32") as caught:
        export.export_lora(tmp_path / "a.safetensors", broken, {}, "fp32")
    assert "try a lower optimizer.learning_rate" in str(caught.value)
    assert "save.precision" not in str(caught.value)


@pytest.mark.parametrize("format_", ["fp32", *HALF])
@pytest.mark.parametrize("shared", [PASSES, PICTURES], ids=["by passes", "by pictures"])
def test_two_processes_skip_a_step_that_overflows_in_one_of_them(
    bench: Workbench, shared: Mapping[str, Any], format_: str
) -> None:
    tables = {**shared, "train": {**shared["train"], "precision": format_}, "resources": {"gpus": 2}}
    file = bench.folder / "two.toml"
    file.write_text(as_toml(bench.config(tables=tables)))
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    told = train_both(file, bench.folder / "two", place)
    assert told[0] == told[1]
    assert told[0].startswith("[False, True, False, False, False, False]")
    assert json.loads((bench.folder / "two" / "run.json").read_text())["skipped_steps"] == 1


@pytest.mark.parametrize(
    ("capability", "wanted"), [((7, 5), "fp16"), ((8, 0), "bf16"), ((8, 9), "bf16"), ((12, 0), "bf16"), (None, "fp32")]
)
def test_auto_is_what_the_card_computes(
    bench: Workbench, capability: tuple[int, int] | None, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: capability is not None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
    device = "cuda" if capability else "cpu"
    config = bench.config(tables={"train": {"device": device}})
    assert config.train.precision == "auto"
    assert precision.resolve_precision(config.train).precision == wanted
    lower = bench.config(tables={"train": {"device": device, "full_precision": False}})
    if wanted == "bf16":
        assert precision.resolve_precision(lower.train).full_precision is False
    else:
        with pytest.raises(InputError, match=f'"auto" is {wanted} here'):
            precision.resolve_precision(lower.train)


def test_record_log_and_file_hold_what_auto_became(bench: Workbench) -> None:
    bench.train("run")
    record = json.loads((bench.folder / "run" / "run.json").read_text())
    assert record["config"]["train"]["precision"] == "fp32"
    assert bench.events("run", "start")[0]["precision"] == "fp32"
    bench.train("given", tables={"train": {"precision": "fp32"}})
    assert bench.digest("given") == bench.digest("run")
    given = bench.config(tables={"train": {"precision": "fp32"}})
    auto = bench.config()
    resolved = auto.model_copy(update={"train": precision.resolve_precision(auto.train)})
    assert fingerprint(resolved, "", "sd1") == fingerprint(given, "", "sd1")
    assert Path(bench.folder / "run" / "config.toml").read_text().count('precision = "auto"') == 1
