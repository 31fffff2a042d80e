"""Which numbers can be counted and computed with."""

from __future__ import annotations

import math
from numbers import Integral, Real

LARGEST_INT = 2**63 - 1
"""What files, tensors and lists count with; a larger number is a slip."""


def is_finite(value: object) -> bool:
    """Whether it is a real number, finite as a float too; a whole number of 400 digits is not.

    Example:
        >>> is_finite(3), is_finite(float("nan")), is_finite(10**400), is_finite("3")
        (True, False, False, False)
    """
    try:
        return isinstance(value, Real) and math.isfinite(value)
    except OverflowError:
        return False


def is_too_large(value: object) -> bool:
    """Whether it is a whole number that 64 bits do not hold."""
    return isinstance(value, Integral) and abs(int(value)) > LARGEST_INT
