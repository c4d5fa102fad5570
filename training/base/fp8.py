"""A frozen base model stored in fp8: half the memory of fp16; computation is in the precision of the input.

Each row (output) of a weight has its own scale, so that the row's largest number uses the whole range of float8_e4m3fn:
without it a weight below 0.002, and most of Stable Diffusion's are near that, becomes zero. Autograd keeps the fp8
weight and casts it again in the backward pass; a cast in the forward pass alone would keep every weight in half
precision until the backward pass, and save nothing.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.grad import conv2d_input

STORAGE = torch.float8_e4m3fn
LARGEST = torch.finfo(STORAGE).max
UNCONVERTED = ("conv_in", "conv_out", "time_embedding", "add_embedding")
"""Parts of the UNet that keep their format: they are small, and everything passes through them."""


def convert_to_fp8(model: nn.Module) -> None:
    """Convert the frozen Linear and convolution weights of a UNet to fp8, in place; trained layers are skipped.

    Call it after the network is attached: PEFT creates its layers in the precision of those that they adapt.
    """
    for path, module in list(model.named_modules()):
        if path.split(".")[0] in UNCONVERTED or type(module) not in (nn.Linear, nn.Conv2d):
            continue
        if module.weight.requires_grad:
            continue
        parent, _, name = path.rpartition(".")
        new = _Linear(module) if isinstance(module, nn.Linear) else _Conv2d(cast(nn.Conv2d, module))
        setattr(model.get_submodule(parent), name, new)


def quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """`weight` (out, ...) in fp8 and the scale of each row (out,) in fp32, so that weight is about fp8 * scale."""
    rows = weight.float().flatten(1)
    scale = (rows.abs().amax(1) / LARGEST).clamp(min=torch.finfo(torch.float32).tiny)
    return (rows / scale[:, None]).view(weight.shape).to(STORAGE), scale


def dequantise(weight: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    return weight.to(dtype) * scale.to(dtype).view(-1, *[1] * (weight.dim() - 1))


class _Linear(nn.Linear):
    def __init__(self, old: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = old.in_features, old.out_features
        _take(self, old)

    def forward(self, input: Tensor) -> Tensor:
        return cast(Tensor, _LinearFunction.apply(input, self.weight, self.scale, self.bias))  # type: ignore[no-untyped-call]


class _Conv2d(nn.Conv2d):
    def __init__(self, old: nn.Conv2d) -> None:
        nn.Module.__init__(self)
        for name in (*nn.Conv2d.__constants__, "_reversed_padding_repeated_twice"):
            if hasattr(old, name):
                setattr(self, name, getattr(old, name))
        _take(self, old)

    def forward(self, input: Tensor) -> Tensor:
        how = (self.stride, self.padding, self.dilation, self.groups)
        found = _Conv2dFunction.apply(input, self.weight, self.scale, self.bias, how)  # type: ignore[no-untyped-call]
        return cast(Tensor, found)


def _take(new: nn.Module, old: nn.Linear | nn.Conv2d) -> None:
    weight, scale = quantise(old.weight.detach())
    new.weight = nn.Parameter(weight, requires_grad=False)
    new.register_buffer("scale", scale, persistent=False)
    new.register_parameter("bias", cast("nn.Parameter | None", old.bias))
    new.train(old.training)


def _computed_in(input: Tensor) -> torch.dtype:
    """Autocast's precision where it is on: with another one it would make a second copy of each weight."""
    kind = input.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else input.dtype


class _LinearFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight, scale)
        ctx.dtype = input.dtype
        return functional.linear(input, dequantise(weight, scale, _computed_in(input)), bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        weight, scale = ctx.saved_tensors
        [gradient] = gradients
        return (gradient @ dequantise(weight, scale, gradient.dtype)).to(ctx.dtype), None, None, None


class _Conv2dFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None, how: Any) -> Tensor:
        ctx.save_for_backward(weight, scale)
        ctx.dtype, ctx.shape, ctx.how = input.dtype, input.shape, how
        return functional.conv2d(input, dequantise(weight, scale, _computed_in(input)), bias, *how)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        weight, scale = ctx.saved_tensors
        [gradient] = gradients
        restored_weight = dequantise(weight, scale, gradient.dtype)
        found = conv2d_input(  # type: ignore[no-untyped-call]
            ctx.shape, restored_weight, gradient, *ctx.how
        )
        return found.to(ctx.dtype), None, None, None, None
