"""Bounds of the numbers in configs and fleet files. Imports without torch."""

from typing import Any

from pydantic import BaseModel, ValidationInfo

from training.figures import LARGEST

LONGEST_WAIT = 604_800
"""Longest time in s that a program waits for something: a week. poll(2) takes 24 days at most."""


def bounded(kind: type[BaseModel], value: Any, info: ValidationInfo) -> Any:
    """The value of a field of `kind`. Raises ValueError if it is, or holds, a number that is too large.

    A field with an upper bound of its own is left to that.
    """
    bounds = kind.model_fields[info.field_name].metadata if info.field_name else ()
    extreme = _extreme(value)
    if extreme and not any(hasattr(bound, "le") or hasattr(bound, "lt") for bound in bounds):
        raise ValueError(f"must be at most {LARGEST}" if extreme > 0 else f"must be at least -{LARGEST}")
    return value


def _extreme(value: Any) -> int:
    """1 if the value is, or holds, a number that is too large, -1 if it is one too far below 0, else 0."""
    if isinstance(value, dict):
        return _extreme(list(value.values()))
    if isinstance(value, list | tuple):
        return next(filter(None, map(_extreme, value)), 0)
    if not isinstance(value, int | float) or abs(value) <= LARGEST:
        return 0
    return 1 if value > 0 else -1
