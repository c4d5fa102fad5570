"""Adding LoRA files to the networks, and taking them out again to the bit."""

from collections.abc import Callable, Container, Iterable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file

Tensor = torch.Tensor
Modules = dict[str, dict[str, Tensor]]
"""The tensors "down", "up" and "alpha" of each module in a file, by the module's name there."""
Reader = Callable[[Mapping[str, Tensor], Container[str]], Modules]
"""How an application reads a file: its tensors by their keys, and the names of modules that the networks have."""
Weights = tuple[float, float]
"""The strengths for text encoder and UNet."""


class Loras:
    """The LoRAs merged into two networks; keeps the untouched weights of what it changed."""

    def __init__(self, unet: torch.nn.Module, text_encoder: torch.nn.Module, read: Reader) -> None:
        self._read = read
        self._modules = dict(_targets("lora_unet_", unet))
        text = list(text_encoder.named_modules())
        level = "" if any(name.startswith("text_model.") for name, _ in text) else "text_model_"
        for prefix in ("lora_te_", "lora_te1_"):
            self._modules |= dict(_targets(prefix + level, text_encoder))
        self._clean: dict[str, Tensor] = {}
        self._applied: list[tuple[Path, int, Weights]] = []

    def apply(self, wanted: Iterable[tuple[Path, Weights]]) -> None:
        """Make exactly these files with these weights part of the networks."""
        now = [(path, path.stat().st_mtime_ns, weights) for path, weights in wanted]
        if now == self._applied:
            return
        with torch.no_grad():
            for key, weight in self._clean.items():
                self._modules[key].weight.copy_(weight)
            for path, _, weights in now:
                self._merge(path, weights)
        self._applied = now

    def _merge(self, path: Path, weights: Weights) -> None:
        tensors = {name: tensor.float() for name, tensor in load_file(path).items()}
        for key, parts in self._read(tensors, self._modules).items():
            strength = weights[key.startswith("lora_unet_")]
            if strength and {"down", "up"} <= parts.keys():
                module = self._modules[key]
                self._clean.setdefault(key, module.weight.detach().clone())
                module.weight += strength * _delta(parts, module.weight.shape)


def _targets(prefix: str, network: torch.nn.Module) -> Iterable[tuple[str, torch.nn.Linear | torch.nn.Conv2d]]:
    """Layers by their names in files of kohya's trainer."""
    for name, module in network.named_modules():
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
            yield prefix + name.replace(".", "_"), module


def _delta(tensors: dict[str, Tensor], shape: torch.Size) -> Tensor:
    down, up = tensors["down"], tensors["up"]
    rank = down.shape[0]
    scale = float(tensors["alpha"]) / rank if "alpha" in tensors else 1.0
    return scale * (up.reshape(up.shape[0], rank) @ down.reshape(rank, -1)).reshape(shape)
