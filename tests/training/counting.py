"""Counts what a training step keeps in memory, on the meta device: real shapes, CUDA's autocast rules, no weights.

Autograd's saved tensors are counted once a storage, parameters aside. Attention is counted as the fused kernels keep
it: query, key, value, output and one number a row.
"""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from training.config import Network
from training.lora import network
from training.sections.model import Family

MIB = 1 << 20
UNETS: dict[Family, dict[str, Any]] = {
    "sd1": {"cross_attention_dim": 768, "attention_head_dim": 8},
    "sd2": {"cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20], "use_linear_projection": True},
    "sdxl": {
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": [1, 2, 10],
        "attention_head_dim": [5, 10, 20],
        "cross_attention_dim": 2048,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
        "use_linear_projection": True,
    },
}
"""What the released UNets' configurations have beside diffusers' defaults."""
SIDES: dict[Family, int] = {"sd1": 512, "sd2": 512, "sdxl": 1024}

LOW = {
    *(functional.linear, functional.conv2d, torch.conv2d, torch.matmul, torch.bmm, torch.baddbmm, torch.einsum),
    *(torch.Tensor.matmul, torch.Tensor.__matmul__),
}
HIGH = {
    *(functional.layer_norm, functional.group_norm, torch.layer_norm, torch.group_norm, functional.softmax),
    *(torch.softmax, torch.Tensor.softmax, torch.Tensor.norm, torch.linalg.norm, functional.mse_loss),
}
"""What CUDA's autocast computes in half precision, and what in fp32, as far as a UNet uses it."""


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        out = torch.empty_like(query)
        ctx.save_for_backward(query, key, value, out, query.new_empty(query.shape[:3], dtype=torch.float32))
        return out

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        raise NotImplementedError


class Autocast(TorchFunctionMode):
    """CUDA's autocast, for tensors on the meta device."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype, self._weights = dtype, {}  # type: tuple[torch.dtype, dict[int, Tensor]]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is functional.scaled_dot_product_attention:
            given = (*args, *(kwargs[name] for name in ("query", "key", "value") if name in kwargs))
            return _Attention.apply(*(self._cast(value, self._dtype) for value in given[:3]))  # type: ignore[no-untyped-call]
        to = self._dtype if func in LOW else torch.float32 if func in HIGH else None
        if to is not None:
            args = [self._cast(value, to) for value in args]
            kwargs = {name: self._cast(value, to) for name, value in kwargs.items()}
        return func(*args, **kwargs)

    def _cast(self, value: Any, to: torch.dtype) -> Any:
        if not isinstance(value, Tensor) or not value.is_floating_point() or value.dtype == to:
            return value
        if value.requires_grad and value.is_leaf:  # autocast casts such a weight once
            return self._weights.setdefault(id(value), value.to(to))
        return value.to(to)


def unet(family: Family, settings: Network, dtype: torch.dtype, trained: torch.dtype) -> nn.Module:
    """The released UNet with the network attached, on the meta device."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    with torch.device("meta"):
        model: nn.Module = UNet2DConditionModel(**UNETS[family])
        model.to(dtype).requires_grad_(False)
        network.attach(settings, 0, family, model, []).to(trained)
    return model.train()


def text_encoder(settings: Network, dtype: torch.dtype, trained: torch.dtype, *, checkpointing: bool) -> nn.Module:
    """CLIP's text encoder of SD 1.5 with the network attached, on the meta device."""
    from transformers.models.clip.configuration_clip import CLIPTextConfig
    from transformers.models.clip.modeling_clip import CLIPTextModel

    shape: dict[str, Any] = {
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "attn_implementation": "sdpa",
    }
    with torch.device("meta"):
        model: Any = CLIPTextModel(CLIPTextConfig(**shape))
        model.to(dtype).requires_grad_(False)
        network.attach(settings, 0, "sd1", None, [model]).to(trained)
    if checkpointing:
        model.gradient_checkpointing_enable()
    return model.train()  # type: ignore[no-any-return]


def text_kept(model: nn.Module, dtype: torch.dtype, captions: int) -> int:
    """Bytes that autograd keeps of a text encoder that reads `captions` pieces of 77 tokens."""
    autocast = Autocast(dtype) if dtype != torch.float32 else contextlib.nullcontext()
    with _counting(model) as total, autocast:
        states = model(torch.zeros(captions, 77, dtype=torch.long, device="meta"), output_hidden_states=True)
        found = total()
    del states
    return found


def kept(family: Family, model: nn.Module, dtype: torch.dtype, batch: int = 1) -> int:
    """Bytes that autograd keeps between forward and backward pass of `batch` pictures."""
    with _counting(model) as total, Autocast(dtype):
        loss = _loss(family, model, dtype, batch)
        found = total()
    del loss
    return found


def _loss(family: Family, model: nn.Module, dtype: torch.dtype, batch: int) -> Tensor:
    side = SIDES[family] // 8
    with torch.device("meta"):
        text = torch.empty(batch, 77, UNETS[family]["cross_attention_dim"], dtype=dtype)
        more: dict[str, Any] = {}
        if family == "sdxl":
            added = {
                "text_embeds": torch.empty(batch, 1280, dtype=dtype),
                "time_ids": torch.empty(batch, 6, dtype=dtype),
            }
            more = {"added_cond_kwargs": added}
        noisy, times = torch.empty(batch, 4, side, side, dtype=dtype), torch.zeros(batch, dtype=torch.long)
        target = torch.empty(batch, 4, side, side)
    said = model(noisy, times, text, return_dict=False, **more)[0]
    return functional.mse_loss(said.float(), target)


@contextmanager
def _counting(model: nn.Module) -> Iterator[Callable[[], int]]:
    weights = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    live: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            live[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield lambda: sum(storage.nbytes() for storage in live.values())
