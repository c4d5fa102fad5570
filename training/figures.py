"""Which numbers can be computed with: one answer for settings, logs and records. Standard library only."""

import math
from typing import TypeGuard

LARGEST = 10**12
"""Largest number of a setting without a bound of its own, and of a log: a larger one overflows somewhere later."""


def is_figure(value: object) -> TypeGuard[int | float]:
    """Whether it is a finite number up to LARGEST: not NaN, and not true or false, which Python takes for 1 and 0."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) <= LARGEST
        and math.isfinite(value)
    )
