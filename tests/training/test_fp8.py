"""The base model in fp8: half of fp16, near what it was, and trained through."""

from typing import Any

import pytest
import torch

from tests.training.test_networks import speak
from tests.training.workbench import Workbench
from training.base import fp8
from training.base.loading import BaseModel
from training.config import Network
from training.lora import deltas, lorafile, network
from training.sections.model import Model

pytestmark = pytest.mark.slow


def test_rows_of_any_size_keep_three_bits_of_every_weight() -> None:
    draw = torch.Generator().manual_seed(1)
    weight = torch.randn(64, 128, generator=draw) * torch.logspace(-6, 2, 64)[:, None]
    back = fp8.dequantise(*fp8.quantise(weight), torch.float32)
    error = (back - weight).norm(dim=1) / weight.norm(dim=1)
    assert error.max() < 0.04
    plain = weight.to(fp8.STORAGE).float()
    assert ((plain - weight).norm(dim=1) / weight.norm(dim=1)).max() == 1.0, "without scales rows become zero"


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_a_unet_in_fp8_takes_half_of_fp16_and_speaks_alike(bench: Workbench, family: str) -> None:
    base = BaseModel(Model(checkpoint=bench.materials / f"{family}.safetensors"))
    unet: Any = base.unet(torch.float32)
    before = speak(unet, family)
    size = sum(p.numel() for p in unet.parameters())
    fp8.convert_to_fp8(unet)
    kept = sum(p.numel() * p.element_size() for p in unet.parameters() if p.dtype == fp8.STORAGE)
    assert kept > 0.85 * size, "of the small model; the released ones have 99.7 % of their weights there"
    assert (speak(unet, family) - before).norm() / before.norm() < 0.15


def test_gradients_are_those_of_the_restored_weights_and_no_copy_is_kept() -> None:
    for layer, shape in ((torch.nn.Linear(8, 6), (3, 8)), (torch.nn.Conv2d(4, 6, 3, 2, 1), (2, 4, 8, 8))):
        model = torch.nn.Sequential(layer).requires_grad_(False)
        input = torch.randn(shape, requires_grad=True)
        fp8.convert_to_fp8(model)
        stored: Any = model[0]
        kept: list[torch.Tensor] = []

        def pack(tensor: torch.Tensor, into: list[torch.Tensor] = kept) -> torch.Tensor:
            into.append(tensor)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model(input).square().sum().backward()
        assert all(t.dtype == fp8.STORAGE for t in kept if t.shape == stored.weight.shape)
        [found] = [input.grad.clone()] if input.grad is not None else []
        input.grad = None
        stored_weight = fp8.dequantise(stored.weight, stored.scale, torch.float32)
        if isinstance(stored, torch.nn.Linear):
            out = torch.nn.functional.linear(input, stored_weight, stored.bias)
        else:
            out = torch.nn.functional.conv2d(input, stored_weight, stored.bias, 2, 1)
        torch.autograd.backward(out.square().sum())
        assert input.grad is not None and torch.allclose(found, input.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("more", [{}, {"gradient_checkpointing": True}, {"precision": "bf16"}])
@pytest.mark.parametrize("kind", ["lora", "locon", "loha", "lokr"])
def test_a_base_in_fp8_trains_and_the_file_is_sound(bench: Workbench, kind: str, more: dict[str, Any]) -> None:
    tables = {"model": {"storage": "fp8"}, "network": {"kind": kind}, "train": more}
    bench.train("run", tables={**tables, "optimizer": {"learning_rate": 0.02}})
    tensors = bench.tensors("run")
    assert all(tensor.isfinite().all() and tensor.dtype == torch.float32 for tensor in tensors.values())
    modules = lorafile.read_safetensors(bench.file("run")).modules()
    assert all(deltas.delta(parts).abs().sum() > 0 for parts in modules.values())


def test_checkpointing_gives_the_same_weights(bench: Workbench) -> None:
    bench.train("plain", tables={"model": {"storage": "fp8"}})
    bench.train("again", tables={"model": {"storage": "fp8"}, "train": {"gradient_checkpointing": True}})
    plain, again = bench.tensors("plain"), bench.tensors("again")
    assert all(torch.allclose(plain[name], again[name], atol=1e-5) for name in plain)


def test_trained_layers_keep_their_precision(bench: Workbench) -> None:
    unet = BaseModel(Model(checkpoint=bench.materials / "sd1.safetensors")).unet(torch.float32)
    made = network.attach(Network(rank=2), 0, "sd1", unet, [])
    fp8.convert_to_fp8(unet)
    assert {parameter.dtype for _, parameter in made.named()} == {torch.float32}
    assert {p.dtype for p in unet.parameters() if not p.requires_grad} >= {fp8.STORAGE}
