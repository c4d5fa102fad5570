"""The difference of the weights of two LoRA files."""

import math
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from training.errors import InputError
from training.lora.deltas import ALPHA, is_scaled
from training.lora.lorafile import LoraFile


def weight_difference(one: Path, other: Path) -> float | None:
    """The relative difference (2-norm) of two files' tensors; None if their names or shapes differ.

    Raises InputError if one of them cannot be read.
    """
    first, second = map(_tensors, (one, other))
    if first.keys() != second.keys() or any(first[name].shape != second[name].shape for name in first):
        return None
    apart = sum((first[name].double() - second[name].double()).square().sum().item() for name in first)
    size = sum(first[name].double().square().sum().item() for name in first)
    return math.sqrt(apart / size) if size else 0.0


def _tensors(file: Path) -> dict[str, Tensor]:
    """All tensors but the alphas that no program reads; earlier trainers wrote the rank there."""
    try:
        tensors = load_file(file)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{file}: cannot be read: {error}") from error
    modules = LoraFile(tensors, {}).modules()
    unread = {f"{name}.{ALPHA}" for name, parts in modules.items() if "lokr_w1" in parts and not is_scaled(parts)}
    return {name: tensor for name, tensor in tensors.items() if name not in unread}
