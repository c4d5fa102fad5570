"""A file is what was trained: the UNet in training and the UNet with the file merged say the same."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training import lycoris_formulas
from tests.training.test_networks import speak
from tests.training.workbench import Workbench
from training.base.loading import BaseModel
from training.config import Network
from training.lora import ema, lorafile, merge, network, resize
from training.lora.merge import WeightedSource
from training.lora.svd import Truncation
from training.sections.model import Model

pytestmark = pytest.mark.slow

SIZES = {
    "rank 2, alpha 1": {"rank": 2, "alpha": 1.0, "conv_rank": 2, "conv_alpha": 1.0},
    "rank 4, alpha 16, convolutions 2 and 6": {"rank": 4, "alpha": 16.0, "conv_rank": 2, "conv_alpha": 6.0},
    "rank 16, alpha 8": {"rank": 16, "alpha": 8.0, "conv_rank": 16, "conv_alpha": 8.0},
}
LOKR = {
    "whole factors, alpha 1": {"rank": 100000, "alpha": 1.0, "conv_rank": 100000, "conv_alpha": 1.0},
    "whole factors, factor 4": {"rank": 100000, "alpha": 1.0, "conv_rank": 1000, "conv_alpha": 3.0, "lokr_factor": 4},
    "convolutions whole alone": {"rank": 2, "alpha": 1.0, "conv_rank": 1000, "conv_alpha": 3.0},
}
ROWS = [(kind, name) for kind in ("lora", "locon", "dora", "loha", "lokr") for name in SIZES]
ROWS += [("lokr", name) for name in LOKR]


def moved(bench: Workbench, family: str, kind: str, sizes: dict[str, Any]) -> tuple[BaseModel, Any, Path]:
    """A base model, its UNet with a network whose weights are far from the start, and the network's file."""
    base = BaseModel(Model(checkpoint=bench.materials / f"{family}.safetensors"))
    unet: Any = base.unet(torch.float32)
    made = network.attach(Network.model_validate({"kind": kind, **sizes}), 0, base.family, unet, [])
    draw = torch.Generator().manual_seed(3)
    for name, parameter in made.named():
        noise = torch.randn(parameter.shape, generator=draw)
        with torch.no_grad():
            size = 0.3 if kind == "loha" else 0.1
            parameter.mul_(1 + 0.3 * noise) if "dora_scale" in name else parameter.copy_(size * noise)
    file = bench.folder / "cat.safetensors"
    lorafile.write_lora(file, made.tensors(), {})
    return base, unet.eval(), file


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest difference, as a share of the largest value."""
    return float((one - other).abs().max() / other.abs().max())


@pytest.mark.parametrize(("kind", "name"), ROWS)
@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_the_file_is_what_was_trained(bench: Workbench, family: str, kind: str, name: str) -> None:
    base, trained, file = moved(bench, family, kind, (SIZES | LOKR)[name])
    plain: Any = base.unet(torch.float32)
    said, before = speak(trained, family), speak(plain, family)
    assert apart(said, before) > 0.01, "the network changes what the UNet says"

    target = bench.folder / "merged.safetensors"
    merge.bake(bench.materials / f"{family}.safetensors", [WeightedSource(file)], target)
    ours = speak(BaseModel(Model(checkpoint=target)).unet(torch.float32), family)
    assert apart(ours, said) < 1e-4, "merged by lora-train merge"

    for path, parts in paths(plain, base, lorafile.read_safetensors(file).modules()).items():
        layer = plain.get_submodule(path)
        layer.weight.data = lycoris_formulas.changed(layer.weight.data, parts)
    assert apart(speak(plain, family), said) < 1e-4, "merged by the readers' formulas"


@pytest.mark.parametrize(("kind", "name"), ROWS)
def test_lycoris_reads_what_was_trained(bench: Workbench, kind: str, name: str) -> None:
    """With `pytest -s` it prints a table: the largest difference, as a share of the largest value.

    LyCORIS' modules are asked in place of the layers, as when it trains and draws. Its 4.1.3 merges (merge_to) LoHa
    and factored LoKr with alpha / rank counted twice, and so otherwise than it draws with them.
    """
    from lycoris import modules as lycoris  # here: with it, a fresh process would take a second longer

    base, trained, file = moved(bench, "sd1", kind, (SIZES | LOKR)[name])
    target = bench.folder / "merged.safetensors"
    merge.bake(bench.materials / "sd1.safetensors", [WeightedSource(file)], target)
    ours: Any = BaseModel(Model(checkpoint=target)).unet(torch.float32)
    theirs: Any = base.unet(torch.float32)
    stored = lorafile.read_safetensors(file)
    layers = paths(theirs, base, stored.modules())
    for name_in_file, path in zip(stored.modules(), layers, strict=True):
        found, parameters = lycoris.get_module(stored.tensors, name_in_file)
        applied = lycoris.make_module(found, parameters, name_in_file, theirs.get_submodule(path))
        applied.eval().apply_to()

    worst: dict[str, list[float]] = {}
    for path in layers:
        layer = trained.get_submodule(path)
        plain = theirs.get_submodule(path)
        kernel = getattr(plain, "kernel_size", None)
        shape = (2, plain.in_features) if kernel is None else (2, plain.in_channels, 9, 9)
        given = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            said = layer(given)
            apart_by = [apart(unet.get_submodule(path)(given), said) for unet in (ours, theirs)]
        what = "Linear" if kernel is None else f"{kernel[0]}x{kernel[0]}"
        worst[what] = [max(pair) for pair in zip(worst.get(what, (0.0, 0.0)), apart_by, strict=True)]
    whole = [apart(speak(unet, "sd1"), speak(trained, "sd1")) for unet in (ours, theirs)]
    for what, (here, there) in (worst | {"whole UNet": whole}).items():
        print(f"{kind} | {name} | {what} | ours {here:.1e} | LyCORIS {there:.1e}")
        assert max(here, there) < 1e-4, what


@pytest.mark.parametrize("kind", ["lora", "locon", "loha", "lokr"])
def test_a_file_resized_to_all_of_its_rank_is_what_was_trained(bench: Workbench, kind: str) -> None:
    _, trained, file = moved(bench, "sd1", kind, SIZES["rank 4, alpha 16, convolutions 2 and 6"])
    small = bench.folder / "small.safetensors"
    resize.resize_file(file, small, Truncation(None, 1.0))
    target = bench.folder / "merged.safetensors"
    merge.bake(bench.materials / "sd1.safetensors", [WeightedSource(small)], target)
    ours = speak(BaseModel(Model(checkpoint=target)).unet(torch.float32), "sd1")
    assert apart(ours, speak(trained, "sd1")) < 1e-4


@pytest.mark.parametrize("precision", ["fp16", "bf16", "fp32"])
def test_whole_factors_are_saved_in_every_precision(bench: Workbench, precision: str) -> None:
    sizes = LOKR["whole factors, alpha 1"]
    bench.train("run", tables={"network": {"kind": "lokr", **sizes}, "save": {"precision": precision}})
    file = bench.folder / "run" / "output" / "cat.safetensors"
    for parts in lorafile.read_safetensors(file).modules().values():
        assert {"lokr_w1", "lokr_w2"} <= parts.keys() and float(parts["alpha"]) == 1
    merge.bake(bench.materials / "sd1.safetensors", [WeightedSource(file)], bench.folder / "merged.safetensors")


@pytest.mark.parametrize("kind", ["dora", "loha", "lokr"])
def test_a_run_that_starts_from_a_file_speaks_as_the_run_that_made_it(bench: Workbench, kind: str) -> None:
    sizes = LOKR["whole factors, alpha 1"] if kind == "lokr" else SIZES["rank 2, alpha 1"]
    base, trained, file = moved(bench, "sd1", kind, sizes)
    unet: Any = base.unet(torch.float32)
    ema.start_from(network.attach(Network.model_validate({"kind": kind, **sizes}), 5, "sd1", unet, []), file)
    assert torch.equal(speak(unet.eval(), "sd1"), speak(trained, "sd1"))


def paths(
    unet: Any, base: BaseModel, modules: dict[str, dict[str, torch.Tensor]]
) -> dict[str, dict[str, torch.Tensor]]:
    """A file's modules by the paths of their layers."""
    attending = tuple("CrossAttn" in kind for kind in unet.config.up_block_types)
    from training.lora import naming

    names = {
        naming.unet_module_name(path, base.family, unet.config.layers_per_block, attending): path
        for path, layer in unet.named_modules()
        if hasattr(layer, "weight")
    }
    return {names[name]: parts for name, parts in modules.items()}
