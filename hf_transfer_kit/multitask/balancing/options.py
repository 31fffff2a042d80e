"""Options of balancers, refused in a sentence when they are out of range."""

from __future__ import annotations

import math

from hf_transfer_kit.errors import SettingsError


def number(method: str, option: str, value: float, *, low: float, above: bool = False) -> float:
    """``value`` as a float of at least ``low``, or above it where ``above``.

    Raises:
        SettingsError: When it is not, or no finite number.
    """
    wrong = isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value)
    if wrong or value < low or (above and value == low):
        edge = f"above {low:g}" if above else f"of {low:g} or more"
        raise SettingsError(f"{method}: {option}={value!r} is out of range; give a number {edge}.")
    return float(value)


def whole(method: str, option: str, value: int, *, low: int) -> int:
    """``value``, a whole number of at least ``low``.

    Raises:
        SettingsError: When it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise SettingsError(f"{method}: {option}={value!r} is out of range; give a whole number of {low} or more.")
    return value
