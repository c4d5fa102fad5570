"""Bounds of the numbers in configs and fleet files. Imports without torch."""

from typing import Any

from pydantic import BaseModel, ValidationInfo

LARGEST = 10**12
"""Largest number of a setting without a bound of its own: a larger one is a mistake, and overflows somewhere later."""
LONGEST_WAIT = 604_800
"""Longest time in s that a program waits for something: a week. poll(2) takes 24 days at most."""


def bounded(kind: type[BaseModel], value: Any, info: ValidationInfo) -> Any:
    """The value of a field of `kind`. Raises ValueError if it is, or holds, a number that is too large.

    A field with an upper bound of its own is left to that.
    """
    bounds = kind.model_fields[info.field_name].metadata if info.field_name else ()
    if _too_large(value) and not any(hasattr(bound, "le") or hasattr(bound, "lt") for bound in bounds):
        raise ValueError(f"must be between -{LARGEST} and {LARGEST}")
    return value


def _too_large(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_too_large, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_too_large, value))
    return isinstance(value, int | float) and abs(value) > LARGEST
