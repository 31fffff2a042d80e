"""What strategies may be expected to reach in a case: a linear model of what they reached in the measured cases."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hf_transfer_kit.selection.advice.cases import BASE, Case, strategies_of
from hf_transfer_kit.values import CaseMeasures, StrategyOutlook


def place(measures: CaseMeasures) -> np.ndarray:
    """Where a case lies: decades of rows a class, and how much of the classes features and random features know.

    Returns:
        Of shape (3,).
    """
    return np.array([math.log10(measures.rows_per_class), measures.known, measures.known_by_random])


def outlook(measures: CaseMeasures, cases: Sequence[Case], strength: float) -> tuple[StrategyOutlook, ...]:
    """Expected accuracy of each strategy less that of fine-tuning everything: ridge regression on the places of cases.

    The error is that of a single case: the spread of cases around the regression, widened by how far the case lies from
    their middle (Hoerl & Kennard 1970; Bishop 2006, equation 3.59).

    Args:
        measures: Of the case asked about.
        cases: Measured ones.
        strength: Of the ridge, above 0, on places of unit variance; one case weighs 1.

    Returns:
        Best first.

    Example:
        >>> cases = measured_experience().cases
        >>> best = outlook(cases[0].measures, cases, strength=1.0)[0]
        >>> best.strategy
        'head_only'
    """
    places = np.array([place(case.measures) for case in cases])  # (N, 3)
    mean, spread = places.mean(0), places.std(0)
    spread = np.where(spread > 1e-9, spread, 1)
    design = (places - mean) / spread
    asked = (place(measures) - mean) / spread
    inverse = np.linalg.inv(design.T @ design + strength * np.eye(design.shape[1]))
    distance = 1 / len(cases) + asked @ inverse @ asked
    found = []
    for strategy in strategies_of(cases):
        differences = np.array([case.mean(strategy) - case.mean(BASE) for case in cases])
        slopes = inverse @ design.T @ (differences - differences.mean())
        residuals = differences - differences.mean() - design @ slopes
        spread_around = np.sum(residuals**2) / max(len(cases) - 1 - design.shape[1], 1)
        expected = float(differences.mean() + asked @ slopes)
        found.append(StrategyOutlook(strategy, expected, float(np.sqrt(spread_around * (1 + distance)))))
    return tuple(sorted(found, key=lambda entry: -entry.difference))


def by_nearness(measures: CaseMeasures, cases: Sequence[Case]) -> list[tuple[float, Case]]:
    """Distance and case, nearest first; places have unit variance over the cases."""
    places = np.array([place(case.measures) for case in cases])
    spread = places.std(0)
    distances = np.linalg.norm((places - place(measures)) / np.where(spread > 1e-9, spread, 1), axis=1)
    return [(float(distances[index]), cases[index]) for index in np.argsort(distances, kind="stable")]
