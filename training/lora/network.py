"""The trained network: PEFT layers where kohya trains them, with kohya's names in files."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from training import rng
from training.errors import InputError
from training.lora import deltas, lorafile, naming
from training.sections.model import Family
from training.sections.network import Network as Settings

ADAPTER = "default"
Sizes = dict[str, tuple[int, float]]
"""Rank and alpha by name."""
UNET_ATTENTION = ("Transformer2DModel",)
UNET_CONVOLUTION = ("ResnetBlock2D", "Downsample2D", "Upsample2D")
TEXT = ("CLIPAttention", "CLIPSdpaAttention", "CLIPMLP")
"""Classes inside which layers are trained, as in networks/lora.py of kohya's sd-scripts."""

LORA_PARTS = {"lora_A": "lora_down.weight", "lora_B": "lora_up.weight", "lora_magnitude_vector": "dora_scale"}
"""PEFT's names of the parts of a LoRA layer, and kohya's."""


@dataclass(frozen=True)
class Layer:
    """One adapted layer."""

    name: str
    """Its name in files, e.g. lora_unet_mid_block_attentions_0_proj_in."""
    rank: int
    alpha: float
    parts: dict[str, nn.Parameter]
    """Its trained tensors by their names in files, e.g. lora_down.weight."""


@dataclass(frozen=True)
class Network:
    """All adapted layers of UNet and text encoders."""

    unet: tuple[Layer, ...]
    text: tuple[Layer, ...]

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Every layer, in the order of the file."""
        return (*self.text, *self.unet)

    def parameters(self, layers: Iterable[Layer]) -> list[nn.Parameter]:
        """The trained tensors of `layers`, in a fixed order."""
        return [parameter for layer in layers for parameter in layer.parts.values()]

    def to(self, dtype: torch.dtype) -> None:
        """Convert the trained tensors to `dtype`."""
        for _, parameter in self.named():
            parameter.data = parameter.data.to(dtype)

    def named(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The trained tensors by their keys in files, without alphas."""
        for layer in self.layers:
            for part, parameter in layer.parts.items():
                yield f"{layer.name}.{part}", parameter

    def tensors(self, values: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """The content of a file: the trained tensors (or `values` instead of them) and each layer's alpha."""
        trained = values or {name: parameter.detach() for name, parameter in self.named()}
        found = {name: _on_file(name, value) for name, value in trained.items()}
        for layer in self.layers:
            found[f"{layer.name}.alpha"] = torch.tensor(layer.alpha)
        return found


def attach(
    settings: Settings, seed: int, family: Family, unet: nn.Module | None, encoders: Iterable[nn.Module]
) -> Network:
    """Attach a freshly initialised network to UNet and text encoders; None or an empty list skips a part.

    settings.ranks sets the rank of layers by block.
    """
    given = _sizes_on_file(settings.start_from) if settings.start_from and settings.rank_from_start else {}
    unet_layers: tuple[Layer, ...] = ()
    if unet is not None:
        config = cast(Any, unet).config
        attending = tuple("CrossAttn" in kind for kind in config.up_block_types)
        convolutions = UNET_ATTENTION + UNET_CONVOLUTION if settings.conv or given else ()
        paths = targets(unet, UNET_ATTENTION, convolutions)
        names = {p: naming.unet_module_name(p, family, config.layers_per_block, attending) for p in paths}
        unet_layers = _inject(settings, seed, unet, names, given)
    text_layers: list[Layer] = []
    for index, encoder in enumerate(encoders):
        names = {p: naming.text_module_name(p, family, index) for p in targets(encoder, TEXT, ())}
        text_layers.extend(_inject(settings, seed, encoder, names, given))
    return Network(unet_layers, tuple(text_layers))


def targets(model: nn.Module, owners: tuple[str, ...], with_convolutions: tuple[str, ...]) -> list[str]:
    """Paths of the Linear and convolution layers inside the `owners`, 3x3 ones only inside `with_convolutions`."""
    found: dict[str, None] = {}
    for path, module in model.named_modules():
        if type(module).__name__ not in (with_convolutions or owners):
            continue
        for child_path, child in module.named_modules():
            pointwise = isinstance(child, nn.Linear) or (isinstance(child, nn.Conv2d) and child.kernel_size == (1, 1))
            if pointwise or (with_convolutions and isinstance(child, nn.Conv2d)):
                found[f"{path}.{child_path}"] = None
    return list(found)


def _sizes_on_file(file: Path) -> Sizes:
    """Rank and alpha of each layer of a LoRA file, by name."""
    found: Sizes = {}
    for name, parts in lorafile.read_safetensors(file).modules().items():
        if "lora_down.weight" not in parts:
            raise InputError(f"{file}: network.rank_from_start reads LoRA files only; set rank and alpha instead")
        rank = parts["lora_down.weight"].shape[0]
        found[name] = (rank, parts["alpha"].item() if "alpha" in parts else float(rank))
    return found


def _inject(
    settings: Settings, seed: int, model: nn.Module, names: Mapping[str, str], given: Sizes
) -> tuple[Layer, ...]:
    """Adapt the layers at the paths `names`; if sizes are `given`, only those that have one."""
    from peft.mapping import inject_adapter_in_model

    if given:
        names = {path: name for path, name in names.items() if name in given}
    if not names:
        return ()
    sizes = {path: given.get(name) or _size(settings, path, model.get_submodule(path)) for path, name in names.items()}
    common = (settings.rank, settings.alpha)
    config = _peft_config(
        settings,
        targets="|".join(re.escape(path) for path in names),
        ranks={f"^{re.escape(path)}": rank for path, (rank, alpha) in sizes.items() if rank != common[0]},
        alphas={f"^{re.escape(path)}": alpha for path, (rank, alpha) in sizes.items() if alpha != common[1]},
    )
    # PEFT draws initial weights from the global generator, layer by layer in the model's order.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.key(seed, "network", next(iter(names.values()))))
        inject_adapter_in_model(config, model, ADAPTER)
    layers = []
    for path, name in names.items():
        rank, alpha = sizes[path]
        module = model.get_submodule(path)
        _widen(module)
        parts = dict(_parts(module))
        if not deltas.is_scaled(parts):
            # No reader looks at it; the rank that such a network is asked for (100000) is more than fp16 holds.
            cast(Any, module).scaling[ADAPTER], alpha = 1.0, 1.0
        layers.append(Layer(name, rank, alpha, parts))
        _add_dropouts(settings, module)
    return tuple(layers)


def _size(settings: Settings, path: str, module: nn.Module) -> tuple[int, float]:
    """Rank and alpha of the layer at `path`."""
    rank, alpha = settings.rank, settings.alpha
    if isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1):
        rank, alpha = settings.conv or rank, settings.conv_alpha or alpha
    rank = next((own for pattern, own in settings.ranks.items() if re.match(pattern, path)), rank)
    alpha = next((own for pattern, own in settings.alphas.items() if re.match(pattern, path)), alpha)
    return rank, alpha


def _peft_config(settings: Settings, targets: str, ranks: dict[str, int], alphas: dict[str, float]) -> Any:
    shared: dict[str, Any] = {"target_modules": targets, "rank_pattern": ranks, "alpha_pattern": alphas}
    if settings.kind in ("lora", "locon", "dora"):
        from peft.tuners.lora import LoraConfig

        return LoraConfig(
            r=settings.rank,
            lora_alpha=cast(int, settings.alpha),
            lora_dropout=settings.dropout,
            use_dora=settings.kind == "dora",
            **shared,
        )
    shared |= {"r": settings.rank, "rank_dropout": settings.rank_dropout, "module_dropout": settings.module_dropout}
    if settings.kind == "loha":
        from peft.tuners.loha import LoHaConfig

        return LoHaConfig(alpha=cast(int, settings.alpha), **shared)
    from peft.tuners.lokr import LoKrConfig

    return LoKrConfig(alpha=cast(int, settings.alpha), decompose_factor=settings.lokr_factor, **shared)


def _parts(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """The trained tensors of an adapted layer, by their names in files."""
    for own, parameter in module.named_parameters():
        part = own.split(".")[0]
        if part in LORA_PARTS:
            yield LORA_PARTS[part], parameter
        elif part.startswith(("hada_", "lokr_")):
            yield part, parameter


def _widen(module: nn.Module) -> None:
    """Convert trained tensors to fp32: PEFT creates them in the format of the layer they adapt."""
    narrow = [part for _, part in _parts(module) if part.dtype in (torch.float16, torch.bfloat16)]
    for part in narrow:
        part.data = part.data.float()
    if narrow and hasattr(module, "lora_magnitude_vector") and ADAPTER in cast(Any, module).lora_magnitude_vector:
        # A rounded norm of the weights would change the layer's output before the first step.
        layer = cast(Any, module)
        magnitude = layer.lora_magnitude_vector[ADAPTER]
        magnitude.weight.data = magnitude.get_weight_norm(layer.base_layer.weight.float(), 0.0, 1.0)


def _on_file(name: str, value: Tensor) -> Tensor:
    """A tensor in its shape in files: DoRA's magnitudes along the outputs, as LyCORIS and ComfyUI read them."""
    if name.endswith(".dora_scale"):
        return value.view(-1, 1, 1, 1) if value.dim() == 4 else value.view(-1, 1)
    return value


def _add_dropouts(settings: Settings, module: nn.Module) -> None:
    """Rank and module dropout of LoRA layers, which PEFT lacks, with kohya's scaling."""
    if settings.kind not in ("lora", "locon", "dora") or not (settings.rank_dropout or settings.module_dropout):
        return

    def drop(layer: nn.Module, _: Any, out: Tensor) -> Tensor:
        if not layer.training:
            return out
        if settings.module_dropout and torch.rand(()).item() < settings.module_dropout:
            return torch.zeros_like(out)
        if settings.rank_dropout:
            axis = 1 if out.dim() == 4 else out.dim() - 1
            shape = [out.shape[0] if at == 0 else out.shape[axis] if at == axis else 1 for at in range(out.dim())]
            mask = torch.rand(shape, device=out.device) > settings.rank_dropout
            out = out * mask / (1.0 - settings.rank_dropout)
        return out

    cast(Any, module).lora_A[ADAPTER].register_forward_hook(drop)
