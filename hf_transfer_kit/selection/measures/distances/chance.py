"""What a distance is when the domain of a row means nothing: rows dealt to the domains at random."""

from __future__ import annotations

from typing import Any

import numpy as np

_HIGH = 0.95


def dealt(sources: int, targets: int, permutations: int, generator: np.random.Generator) -> np.ndarray:
    """The rows as they came, the source first, and so many random deals of as many source rows.

    Returns:
        Whether a row is of the source, (1 + permutations, sources + targets), bool.
    """
    deals = np.tile(np.arange(sources + targets) < sources, (1 + permutations, 1))
    deals[1:] = generator.permuted(deals[1:], axis=1)
    return deals


def beside_chance(values: np.ndarray) -> dict[str, Any]:
    """The first value beside the others, those of the deals; fields of ``DistanceBesideChance``.

    p = (1 + #{deals of at least the value}) / (1 + deals), which is valid for any number of deals (Phipson and Smyth
    2010).

    Args:
        values: (1 + deals,).
    """
    value, null = values[0], values[1:]
    rounding = 1e-12 * np.abs(values).max()  # a deal that repeats the domains must count
    return {
        "value": float(value),
        "null_mean": float(null.mean()),
        "null_high": float(np.quantile(null, _HIGH)),
        "p_value": float((1 + np.sum(null >= value - rounding)) / (1 + len(null))),
        "permutations": len(null),
    }
