"""Values that parts refuse when they are made, so that no run begins with them."""

from __future__ import annotations

import math
from typing import Any, TypeGuard

from hf_transfer_kit.errors import SettingsError


def check_strength(owner: str, **values: object) -> None:
    """Refuses what is no strength: a finite number, 0 or more.

    Args:
        owner: The class that was given them, for the sentence.
        **values: Name -> value.

    Raises:
        SettingsError: Naming the first wrong one.
    """
    for name, value in values.items():
        if not is_number(value):
            raise SettingsError(f"{owner}: {name}={value!r} is no finite number; give a strength of 0 or more.")
        if value < 0:
            raise SettingsError(f"{owner}: {name}={value} is negative; give a strength of 0 or more.")


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value is a finite number, and no truth value."""
    try:
        return not isinstance(value, (bool, str)) and math.isfinite(value)
    except (TypeError, ValueError, OverflowError):
        return False
