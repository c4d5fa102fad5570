"""How far the weights of two LoRA files are apart."""

import math
from pathlib import Path

from safetensors.torch import load_file


def distance(one: Path, other: Path) -> float | None:
    """The relative difference (2-norm) of two files' tensors; None if their names or shapes differ."""
    first, second = load_file(one), load_file(other)
    if first.keys() != second.keys() or any(first[name].shape != second[name].shape for name in first):
        return None
    apart = sum((first[name].double() - second[name].double()).square().sum().item() for name in first)
    size = sum(first[name].double().square().sum().item() for name in first)
    return math.sqrt(apart / size) if size else 0.0
