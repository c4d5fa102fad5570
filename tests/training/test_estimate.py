"""One estimate of memory: held to what was measured on a card, and to what is counted; the fleet places runs by it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deploy.runs import requirements
from training.config import Config, parse_config
from training.memory import advice, estimate
from training.memory.architectures import ARCHITECTURES, MIB
from training.sections.model import Family

MEASURED: list[tuple[str, Family, bool, int]] = [
    ("our trainer, which then kept trained weights in bf16 too", "sd1", False, 2960),
    ("our trainer, which then kept trained weights in bf16 too", "sdxl", False, 13234),
    ("a bare loop with PEFT, autocast and fused AdamW", "sd1", True, 3071),
    ("a bare loop with PEFT, autocast and fused AdamW", "sdxl", True, 13848),
    ("the bare loop captured into one CUDA graph", "sd1", True, 3212),
    ("kohya's sd-scripts", "sd1", True, 3286),
    ("kohya's sd-scripts", "sdxl", True, 13673),
    ("diffusers' example", "sd1", True, 3219),
]
"""Peak MiB allocated on an H100 80GB with bf16, batch 1, rank 8, AdamW, cached latents and text; SD 1.5 at 512 and SDXL
at 1024 pixels. torch 2.11.0+cu130, diffusers 0.42.1, 26 November 2026. Whether trained weights were in fp32."""


def config(**tables: Any) -> Config:
    """A config as it was measured, `tables` laid over it."""
    raw: dict[str, Any] = {
        "name": "cat",
        "model": {"checkpoint": "none.safetensors"},
        "data": {"folder": "pictures", "resolution": 512},
        "network": {"rank": 8, "alpha": 8},
        "train": {"precision": "bf16"},
    }
    for name, table in tables.items():
        raw[name] = {**raw.get(name, {}), **table}
    return parse_config(raw, Path("config.toml"))


def measured(family: Family, fp32: bool = True, **tables: Any) -> Config:
    """The config of a measurement."""
    tables["train"] = {"full_precision": fp32, **tables.get("train", {})}
    tables["data"] = {"resolution": 1024 if family == "sdxl" else 512, **tables.get("data", {})}
    return config(**tables)


@pytest.mark.parametrize(("what", "family", "fp32", "peak"), MEASURED)
def test_the_estimate_is_what_was_measured(what: str, family: Family, fp32: bool, peak: int) -> None:
    found = estimate.estimate_memory(measured(family, fp32), family).allocated / MIB
    assert found == pytest.approx(peak, rel=0.1), what


@pytest.mark.parametrize(("precision", "width"), [("fp32", 4), ("bf16", 2), ("fp16", 2), ("auto", 2)])
@pytest.mark.parametrize("table", [{"network": {"text_encoder": True}}, {"data": {"captions": {"shuffle": True}}}])
def test_text_encoders_stay_in_the_precision_of_the_run(table: dict[str, Any], precision: str, width: int) -> None:
    for family, shape in ARCHITECTURES.items():
        with_text, without = (
            estimate.estimate_memory(measured(family, train={"precision": precision}, **more), family)
            for more in (table, {})
        )
        assert with_text.base - without.base == shape.text_parameters * width


def test_the_fleet_places_runs_by_it() -> None:
    for family in ("sd1", "sdxl"):
        own = measured(family)
        assert requirements.memory_mb(own) == round(estimate.estimate_memory(own, family).card / MIB)
    assert requirements.memory_mb(config(resources={"gpu_memory_mb": 4000})) == 4000


def test_the_controller_needs_neither_torch_nor_numpy() -> None:
    code = (
        "import sys; sys.modules |= dict.fromkeys(('torch', 'numpy', 'safetensors'));"
        "import deploy.runs.requirements, training.run.check, training.base.files"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_every_setting_that_saves_memory_does(family: Family) -> None:
    greedy = measured(
        family,
        network={"text_encoder": True, "rank": 64},
        train={"precision": "fp32", "batch_size": 4},
        data={"resolution": 1024, "encode": "along"},
    )
    found = {change.sentence.split(" ")[0]: change.saved for change in advice.savings(greedy, family)}
    assert found.keys() == {
        *("train.precision", "train.gradient_checkpointing", "network.text_encoder", "data.encode", "optimizer.kind"),
        *("train.batch_size", "model.storage", "data.resolution", "network.rank"),
    }
    assert all(saved > 0 for saved in found.values()), found


def test_what_makes_sdxl_fit_small_cards() -> None:
    own = measured("sdxl", network={"rank": 16})
    memory = estimate.estimate_memory(own, "sdxl").card
    assert [card for card in estimate.CARDS if estimate.fits(memory, card)] == [16, 24, 48, 80]
    changed = advice.savings_to_fit(own, "sdxl", 8)
    assert changed is not None
    assert [change.sentence.split(" ")[0] for change in changed] == ["train.gradient_checkpointing"]
    huge = measured("sdxl", train={"batch_size": 64, "gradient_checkpointing": True})
    needed = advice.savings_to_fit(huge, "sdxl", 8)
    assert needed and any("batch_size = 1" in change.sentence for change in needed)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_the_counts_are_what_autograd_keeps(family: Family) -> None:
    import torch

    from tests.training import counting
    from training.config import Network

    half, single = torch.bfloat16, torch.float32
    shape = ARCHITECTURES[family]
    for kind in ("lora", "lokr"):
        model = counting.unet(family, Network(kind=kind, rank=16, alpha=16), half, single)
        kept = shape.half[kind]
        assert counting.kept(family, model, half) / MIB == pytest.approx(kept.fixed + kept.picture, rel=0.01)
        if kind == "lora":
            trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
            frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
            assert trained / 16 == pytest.approx(shape.trained["lora"], abs=1)
            assert frozen == shape.parameters


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("kind", ["lora", "dora", "loha", "lokr"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_a_text_encoder_keeps_is_counted(kind: str, precision: str, checkpointing: bool) -> None:
    """CLIP's, as SD 1.5 has it, with one and with two captions."""
    import torch

    from tests.training import counting
    from training.config import Network

    half = torch.bfloat16 if precision == "bf16" else torch.float32
    settings = Network.model_validate({"kind": kind, "unet": False, "text_encoder": True})
    model = counting.text_encoder(settings, half, torch.float32, checkpointing=checkpointing)
    for captions in (1, 2):
        train = {"precision": precision, "batch_size": captions, "gradient_checkpointing": checkpointing}
        with_text, without = (
            estimate.estimate_memory(measured("sd1", train=train, network={"kind": kind, "text_encoder": own}), "sd1")
            for own in (True, False)
        )
        counted = counting.text_kept(model, half, captions) / MIB
        if checkpointing:  # the estimate has the layer too that is computed again
            assert counted <= (with_text.activations - without.activations) / MIB <= counted + 80
        else:
            assert (with_text.activations - without.activations) / MIB == pytest.approx(counted, rel=0.1, abs=8)


@pytest.mark.slow
def test_optimisers_keep_the_state_that_is_counted() -> None:
    import torch

    from training.loop import optimizers
    from training.sections.optimisation import Optimizer

    for kind, expected in estimate.STATE.items():
        if kind in optimizers.FALLBACKS:
            continue  # the 8-bit ones run on CUDA alone
        weight = torch.nn.Parameter(torch.randn(320, 16))
        groups = [{"params": [weight], "lr": 1e-3}]
        made = optimizers.make_optimizer(Optimizer(kind=kind), groups, torch.device("cpu"))
        if hasattr(made, "train"):
            made.train()
        for _ in range(2):
            weight.grad = torch.randn_like(weight)
            made.step()
        held = {
            value.untyped_storage()._cdata: value.untyped_storage().nbytes()
            for value in made.state[weight].values()
            if torch.is_tensor(value)
        }
        held.pop(weight.untyped_storage()._cdata, None)
        assert sum(held.values()) / weight.numel() <= expected + 0.1, kind
        assert sum(held.values()) / weight.numel() >= expected - 2, kind
