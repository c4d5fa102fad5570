"""Reads the tensors of a base model's file."""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from training.base.files import TensorFile
from training.base.header import damaged, unreadable
from training.errors import InputError

State = dict[str, Tensor]


def read_tensors(file: TensorFile, prefix: str = "", dtype: torch.dtype = torch.float32) -> State:
    """The tensors whose names start with `prefix`, floating-point ones as `dtype`.

    Raises InputError if a number is not finite, or if the file is truncated.
    """
    try:
        with safe_open(file.path, framework="pt") as stored:
            found = {name: stored.get_tensor(name) for name in file.shapes if name.startswith(prefix)}
    except OSError as error:
        raise unreadable(file.path, error) from error
    except SafetensorError as error:
        raise damaged(file.path, error) from error
    refuse_nonfinite(file.path, found)
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in found.items()}


def refuse_nonfinite(path: Path, found: State) -> None:
    """Raises InputError if a number of the tensors of `path` is not finite."""
    broken = [name for name, value in found.items() if value.is_floating_point() and not _finite(value)]
    if broken:
        raise InputError(
            f"{path}: {len(broken)} tensors hold NaN or infinity (first: {broken[0]}); "
            "the file is damaged: download it again, or use another one"
        )


def _finite(value: Tensor) -> bool:
    return bool(value.isfinite().all()) if value.element_size() > 1 else bool(value.float().isfinite().all())
