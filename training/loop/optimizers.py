"""Optimisers and learning rate schedules by kohya's names."""

import importlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from training.errors import InputError
from training.sections.optimisation import Optimizer, Schedule

OPTIMIZERS: Mapping[str, tuple[str, str, str]] = {
    "Lion": ("lion_pytorch", "Lion", "lion-pytorch"),
    "AdamW8bit": ("bitsandbytes.optim", "AdamW8bit", "bitsandbytes"),
    "Lion8bit": ("bitsandbytes.optim", "Lion8bit", "bitsandbytes"),
    "SGDNesterov8bit": ("bitsandbytes.optim", "SGD8bit", "bitsandbytes"),
    "PagedAdamW": ("bitsandbytes.optim", "PagedAdamW", "bitsandbytes"),
    "PagedAdamW8bit": ("bitsandbytes.optim", "PagedAdamW8bit", "bitsandbytes"),
    "PagedAdamW32bit": ("bitsandbytes.optim", "PagedAdamW32bit", "bitsandbytes"),
    "PagedLion8bit": ("bitsandbytes.optim", "PagedLion8bit", "bitsandbytes"),
    "Prodigy": ("prodigyopt", "Prodigy", "prodigyopt"),
    "DAdaptation": ("dadaptation.experimental", "DAdaptAdamPreprint", "dadaptation"),
    "DAdaptAdamPreprint": ("dadaptation.experimental", "DAdaptAdamPreprint", "dadaptation"),
    "DAdaptAdanIP": ("dadaptation.experimental", "DAdaptAdanIP", "dadaptation"),
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

FALLBACKS = {
    "AdamW8bit": "AdamW",
    "Lion8bit": "Lion",
    "SGDNesterov8bit": "SGDNesterov",
    "PagedAdamW": "AdamW",
    "PagedAdamW8bit": "AdamW",
    "PagedAdamW32bit": "AdamW",
    "PagedLion8bit": "Lion",
}
"""Replacements where bitsandbytes cannot run: the same rule in fp32, with more GPU memory."""


def make_optimizer(
    settings: Optimizer, groups: Sequence[dict[str, Any]], device: torch.device
) -> torch.optim.Optimizer:
    """The optimiser of parameter groups with "params" and "lr".

    Raises InputError if its package is missing or it does not accept an argument.
    """
    kind = settings.kind
    if kind in FALLBACKS and not _runs_bitsandbytes(device):
        kind, wanted = FALLBACKS[kind], kind  # type: ignore[assignment]
        warnings.warn(f"{wanted} needs a CUDA GPU and bitsandbytes; training with {kind}", stacklevel=2)
    args = dict(settings.args)
    if kind in ("SGDNesterov", "SGDNesterov8bit"):
        args = {"momentum": 0.9, "nesterov": True, **args}
    if kind == "AdamW":
        # One kernel for all tensors instead of a loop in Python.
        args = {"fused": True, **args}
    if kind == "Adafactor":
        args = {"relative_step": False, "scale_parameter": False, "warmup_init": False, **args}
    try:
        return _class(kind)(groups, **args)  # type: ignore[no-any-return]
    except (TypeError, ValueError) as error:
        raise InputError(f"optimizer.args: {kind} does not take them ({error})") from error


def _runs_bitsandbytes(device: torch.device) -> bool:
    return device.type == "cuda" and importlib.util.find_spec("bitsandbytes") is not None


def _class(kind: str) -> Any:
    if kind == "AdamW":
        return torch.optim.AdamW
    if kind == "SGDNesterov":
        return torch.optim.SGD
    module, name, package = OPTIMIZERS[kind]
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise InputError(
            f"optimizer.kind: {kind} needs the package {package}; install it: pip install {package}"
        ) from error


def make_schedule(settings: Schedule, optimizer: torch.optim.Optimizer, steps: int) -> Any:
    """The schedule over `steps` optimiser steps: an object with step() and state_dict()."""
    from diffusers.optimization import get_scheduler

    warmup, decay = (_in_steps(value, steps) for value in (settings.warmup_steps, settings.decay_steps))
    if settings.kind == "warmup_stable_decay":
        return _warmup_stable_decay(settings, optimizer, steps, warmup, decay)
    if settings.kind == "cosine_with_min_lr":
        from transformers.optimization import get_cosine_with_min_lr_schedule_with_warmup

        return get_cosine_with_min_lr_schedule_with_warmup(
            optimizer, warmup, steps, num_cycles=settings.cycles / 2, min_lr_rate=settings.min_ratio
        )
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


def _warmup_stable_decay(
    settings: Schedule, optimizer: torch.optim.Optimizer, steps: int, warmup: int, decay: int
) -> Any:
    """Raises InputError if the run is too short for both ends."""
    from transformers.optimization import get_wsd_schedule

    if warmup + decay > steps:
        raise InputError(
            f"schedule: warmup_steps ({warmup}) and decay_steps ({decay}) are more than the run's {steps} steps"
        )
    return get_wsd_schedule(
        optimizer,
        num_warmup_steps=warmup,
        num_decay_steps=decay,
        num_stable_steps=steps - warmup - decay,
        num_cycles=settings.cycles / 2,
        min_lr_ratio=settings.min_ratio,
    )


def _in_steps(value: float, steps: int) -> int:
    """A number of steps; a value below 1 is a share of all `steps`."""
    return int(value * steps) if 0 < value < 1 else int(value)
