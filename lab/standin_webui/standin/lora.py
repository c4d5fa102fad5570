"""`<lora:NAME:WEIGHT>`: adding kohya-named LoRA files to the networks, and taking them out again to the bit."""

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file

TAG = re.compile(r"<lora:([^:>]+)(?::([^:>]+))?(?::([^:>]+))?>")
PARTS = {"lora_down.weight": "down", "lora_up.weight": "up", "alpha": "alpha", "lora_A.weight": "down"} | {
    "lora_B.weight": "up"
}


def take_tags(prompt: str) -> tuple[str, dict[str, tuple[float, float]]]:
    """The prompt without its tags, and for each LoRA its weights for text encoder and UNet."""
    wanted = {}
    for name, text, unet in TAG.findall(prompt):
        weight = float(text) if text else 1.0
        wanted[name] = (weight, float(unet) if unet else weight)
    return TAG.sub("", prompt), wanted


def header(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file."""
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata() or {})


def short_hash(path: Path) -> str:
    """The 12 hex digits that the WebUI names a LoRA by: the metadata's word, else sha256 of all tensors' bytes."""
    if known := header(path).get("sshs_model_hash"):
        return known[:12]
    with path.open("rb") as file:
        file.seek(8 + int.from_bytes(file.read(8), "little"))
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def shown_metadata(path: Path) -> dict[str, object]:
    """Metadata as the API lists it: what is JSON is shown as such."""
    shown: dict[str, object] = {}
    for key, value in header(path).items():
        try:
            shown[key] = json.loads(value)
        except ValueError:
            shown[key] = value
    return shown


class Loras:
    """The LoRAs merged into two networks; keeps the untouched weights of what it changed."""

    def __init__(self, unet: torch.nn.Module, text_encoder: torch.nn.Module) -> None:
        self._modules = dict(_targets("lora_unet_", unet))
        text = list(text_encoder.named_modules())
        level = "" if any(name.startswith("text_model.") for name, _ in text) else "text_model_"
        for prefix in ("lora_te_", "lora_te1_"):
            self._modules |= dict(_targets(prefix + level, text_encoder))
        self._clean: dict[str, torch.Tensor] = {}
        self._applied: list[tuple[Path, int, tuple[float, float]]] = []

    def apply(self, wanted: Iterable[tuple[Path, tuple[float, float]]]) -> None:
        """Make exactly these files with these weights (text encoder, UNet) part of the networks."""
        now = [(path, path.stat().st_mtime_ns, weights) for path, weights in wanted]
        if now == self._applied:
            return
        with torch.no_grad():
            for key, weight in self._clean.items():
                self._modules[key].weight.copy_(weight)
            for path, _, weights in now:
                self._merge(path, weights)
        self._applied = now

    def _merge(self, path: Path, weights: tuple[float, float]) -> None:
        found: dict[str, dict[str, torch.Tensor]] = {}
        for name, tensor in load_file(path).items():
            key, _, part = name.partition(".")
            if key in self._modules:
                found.setdefault(key, {})[part] = tensor.float()
        for key, parts in found.items():
            if unknown := parts.keys() - PARTS.keys():
                print(f"AssertionError: Could not find a module type that would accept {sorted(unknown)} of {key}")
                return
        for key, parts in found.items():
            tensors = {PARTS[part]: tensor for part, tensor in parts.items()}
            strength = weights[key.startswith("lora_unet_")]
            if strength and {"down", "up"} <= tensors.keys():
                module = self._modules[key]
                self._clean.setdefault(key, module.weight.detach().clone())
                module.weight += strength * _delta(tensors, module.weight.shape)


def _targets(prefix: str, network: torch.nn.Module) -> Iterable[tuple[str, torch.nn.Linear | torch.nn.Conv2d]]:
    for name, module in network.named_modules():
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
            yield prefix + name.replace(".", "_"), module


def _delta(tensors: dict[str, torch.Tensor], shape: torch.Size) -> torch.Tensor:
    down, up = tensors["down"], tensors["up"]
    rank = down.shape[0]
    scale = float(tensors["alpha"]) / rank if "alpha" in tensors else 1.0
    return scale * (up.reshape(up.shape[0], rank) @ down.reshape(rank, -1)).reshape(shape)
