"""The difference of the weights of two LoRA files."""

import math
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from training.errors import InputError


def weight_difference(one: Path, other: Path) -> float | None:
    """The relative difference (2-norm) of two files' tensors; None if their names or shapes differ.

    Raises InputError if one of them cannot be read.
    """
    first, second = _tensors(one), _tensors(other)
    if first.keys() != second.keys() or any(first[name].shape != second[name].shape for name in first):
        return None
    apart = sum((first[name].double() - second[name].double()).square().sum().item() for name in first)
    size = sum(first[name].double().square().sum().item() for name in first)
    return math.sqrt(apart / size) if size else 0.0


def _tensors(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{file}: cannot be read: {error}") from error
