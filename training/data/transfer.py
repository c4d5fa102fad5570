"""Moves tensors to the device without blocking the host."""

import torch
from torch import Tensor


def to_device(value: Tensor, device: torch.device) -> Tensor:
    """`value` on `device`; a copy from the host to a CUDA device is only queued.

    It goes through pinned memory: a copy from pageable memory blocks the host until all work queued before is done.
    torch does not reuse a pinned block until its copy is done.
    """
    return pinned(value, device).to(device, non_blocking=True)


def pinned(value: Tensor, device: torch.device) -> Tensor:
    """`value` in pinned memory if a CUDA device will read it, else unchanged."""
    if device.type == "cuda" and value.device.type == "cpu":
        return value.pin_memory()
    return value
