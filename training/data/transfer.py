"""Moving tensors to the device without the host waiting for it."""

import torch
from torch import Tensor


def to_device(value: Tensor, device: torch.device) -> Tensor:
    """`value` on `device`; a copy from the host to a CUDA device is only queued.

    Through pinned memory: from ordinary memory the host waits until the device has read it, and with that for all
    work queued before. torch keeps a pinned block from being reused until its copy is done.
    """
    return staged(value, device).to(device, non_blocking=True)


def staged(value: Tensor, device: torch.device) -> Tensor:
    """`value` in memory that `device` can copy from by itself: pinned where a CUDA device will read it."""
    if device.type == "cuda" and value.device.type == "cpu":
        return value.pin_memory()
    return value
