"""Optimisers and learning rate schedules by kohya's names, all from libraries."""

import importlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from training.errors import InputError
from training.sections.optimisation import Optimizer, Schedule

PLACES: Mapping[str, tuple[str, str, str]] = {
    "Lion": ("lion_pytorch", "Lion", "lion-pytorch"),
    "AdamW8bit": ("bitsandbytes.optim", "AdamW8bit", "bitsandbytes"),
    "Lion8bit": ("bitsandbytes.optim", "Lion8bit", "bitsandbytes"),
    "Prodigy": ("prodigyopt", "Prodigy", "prodigyopt"),
    "DAdaptation": ("dadaptation", "DAdaptAdam", "dadaptation"),
    "DAdaptAdam": ("dadaptation", "DAdaptAdam", "dadaptation"),
    "DAdaptAdaGrad": ("dadaptation", "DAdaptAdaGrad", "dadaptation"),
    "DAdaptAdan": ("dadaptation", "DAdaptAdan", "dadaptation"),
    "DAdaptLion": ("dadaptation", "DAdaptLion", "dadaptation"),
    "DAdaptSGD": ("dadaptation", "DAdaptSGD", "dadaptation"),
    "AdamWScheduleFree": ("schedulefree", "AdamWScheduleFree", "schedulefree"),
    "SGDScheduleFree": ("schedulefree", "SGDScheduleFree", "schedulefree"),
    "RAdamScheduleFree": ("schedulefree", "RAdamScheduleFree", "schedulefree"),
    "Adafactor": ("transformers.optimization", "Adafactor", "transformers"),
}
"""Module, class and package on PyPI of the optimisers that torch lacks."""

FALLBACKS = {"AdamW8bit": "AdamW", "Lion8bit": "Lion"}
"""What is taken where the 8-bit optimiser cannot run: the same rule in full precision, with more memory."""


def make_optimizer(
    settings: Optimizer, groups: Sequence[dict[str, Any]], device: torch.device
) -> torch.optim.Optimizer:
    """The optimiser over parameter groups that carry "params" and "lr".

    Raises InputError if its package is missing or an argument is not the optimiser's.
    """
    kind = settings.kind
    if kind in FALLBACKS and not _runs_8bit(device):
        kind, wanted = FALLBACKS[kind], kind  # type: ignore[assignment]
        warnings.warn(f"{wanted} needs a CUDA GPU and bitsandbytes; training with {kind}", stacklevel=2)
    args = dict(settings.args)
    if kind == "SGDNesterov":
        args = {"momentum": 0.9, "nesterov": True, **args}
    if kind == "AdamW":
        # One kernel for all tensors: as fast as the rest of a small network's step is slow.
        args = {"fused": True, **args}
    if kind == "Adafactor":
        args = {"relative_step": False, "scale_parameter": False, "warmup_init": False, **args}
    try:
        return _class(kind)(groups, **args)  # type: ignore[no-any-return]
    except (TypeError, ValueError) as error:
        raise InputError(f"optimizer.args: {kind} does not take them ({error})") from error


def _runs_8bit(device: torch.device) -> bool:
    return device.type == "cuda" and importlib.util.find_spec("bitsandbytes") is not None


def _class(kind: str) -> Any:
    if kind == "AdamW":
        return torch.optim.AdamW
    if kind == "SGDNesterov":
        return torch.optim.SGD
    module, name, package = PLACES[kind]
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise InputError(
            f"optimizer.kind: {kind} needs the package {package}; install it: pip install {package}"
        ) from error


def make_schedule(settings: Schedule, optimizer: torch.optim.Optimizer, steps: int) -> Any:
    """The schedule over `steps` optimiser steps: an object with step() and state_dict()."""
    from diffusers.optimization import get_scheduler

    warmup = settings.warmup_steps
    warmup = int(warmup * steps) if 0 < warmup < 1 else int(warmup)
    if settings.kind == "inverse_sqrt":
        from transformers.optimization import get_inverse_sqrt_schedule

        return get_inverse_sqrt_schedule(optimizer, warmup)
    if settings.kind == "adafactor":
        from transformers.optimization import AdafactorSchedule

        return AdafactorSchedule(optimizer)
    return get_scheduler(
        settings.kind,
        optimizer,
        num_warmup_steps=warmup,
        num_training_steps=steps,
        num_cycles=settings.cycles,
        power=settings.power,
    )
