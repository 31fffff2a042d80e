"""Options of methods, refused in a sentence when they are out of range."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from numbers import Integral

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.near_names import did_you_mean
from hf_transfer_kit.real_numbers import LARGEST_INT, is_finite


def check_number(
    method: str, option: str, value: float, *, low: float, high: float = math.inf, above: bool = False
) -> float:
    """``value`` as a float in [low, high], or in (low, high] where ``above``.

    Raises:
        SettingsError: When it is outside, or no number.
    """
    wrong = isinstance(value, bool) or not is_finite(value)
    if wrong or not low <= value <= high or (above and value == low):
        edge = f"above {low:g}" if above else f"of {low:g} or more"
        upper = "" if high == math.inf else f" and at most {high:g}"
        raise SettingsError(f"{method}: {option}={value!r} is out of range; give a number {edge}{upper}.")
    return float(value)


def check_int(method: str, option: str, value: int, *, low: int, high: float = math.inf) -> int:
    """``value``, a whole number of at least ``low`` and at most ``high``.

    Raises:
        SettingsError: When it is not.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or not low <= value <= min(high, LARGEST_INT):
        high = LARGEST_INT if high == math.inf and isinstance(value, Integral) and value > LARGEST_INT else high
        upper = "" if high == math.inf else f" and at most {high}"
        raise SettingsError(
            f"{method}: {option}={value!r} is out of range; give a whole number of {low} or more{upper}."
        )
    return int(value)


def check_seed(owner: str, seed: int) -> int:
    """``seed``, a whole number that numpy and torch both take.

    Raises:
        SettingsError: When it is none.
    """
    return check_int(owner, "seed", seed, low=0, high=2**32 - 1)


def check_ints(
    owner: str, option: str, values: Collection[int], *, low: int, high: float = math.inf
) -> tuple[int, ...]:
    """One or more different whole numbers of at least ``low`` and at most ``high``, in their order.

    Raises:
        SettingsError: When there is none, one stands twice or is outside, or they are no list.
    """
    if isinstance(values, str | bytes) or not isinstance(values, Collection) or not values:
        raise SettingsError(f"{owner}: {option}={values!r} is no list; give one or more whole numbers.")
    numbers = [check_int(owner, option, value, low=low, high=high) for value in values]
    if len(set(numbers)) < len(numbers):
        raise SettingsError(f"{owner}: {option}={numbers} names one twice. Give each once.")
    return tuple(numbers)


def check_seeds(owner: str, seeds: Sequence[int]) -> tuple[int, ...]:
    """One or more different seeds that numpy and torch both take.

    Raises:
        SettingsError: When there is none, one stands twice, or is no seed.
    """
    return check_ints(owner, "seeds", seeds, low=0, high=2**32 - 1)


def check_widths(method: str, option: str, value: Sequence[int]) -> tuple[int, ...]:
    """Widths of hidden layers; empty for none.

    Raises:
        SettingsError: When one is no positive whole number.
    """
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise SettingsError(f"{method}: {option}={value!r} is no list of widths; give one such as [1024, 1024] or [].")
    return tuple(check_int(method, option, width, low=1) for width in value)


def check_numbers(method: str, option: str, values: Sequence[float]) -> tuple[float, ...]:
    """One or more numbers above 0.

    Raises:
        SettingsError: When there is none, or one is not above 0.
    """
    if isinstance(values, str) or not isinstance(values, Sequence) or not values:
        raise SettingsError(f"{method}: {option}={values!r} is no list; give one or more numbers above 0.")
    return tuple(check_number(method, option, value, low=0, above=True) for value in values)


def check_choice(method: str, option: str, value: str, known: Sequence[str]) -> str:
    """``value``, one of ``known``.

    Raises:
        SettingsError: When it is another.
    """
    if not isinstance(value, str) or value not in known:
        raise SettingsError(
            f"{method}: {option}={value!r} is unknown; choose {' or '.join(map(repr, known))}."
            f"{did_you_mean(value, known)}"
        )
    return value
