"""What strategies may be expected to reach in a case, from what they reached in the measured cases nearest to it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hf_transfer_kit.selection.advice.cases import BASE, Case, strategies_of
from hf_transfer_kit.values import CaseMeasures, StrategyOutlook

_PRIOR = 0.05
"""Spread of differences that a single near case leaves open: the one that most are within."""


def place(measures: CaseMeasures) -> np.ndarray:
    """Where a case lies: size in decades of rows a class, what the features know of it, what random ones lack of that.

    Returns:
        Of shape (3,), each about 1 between cases that differ much.
    """
    return np.array([math.log10(measures.rows_per_class), measures.known, 2 * measures.gain])


def nearness(measures: CaseMeasures, cases: Sequence[Case], bandwidth: float) -> np.ndarray:
    """exp(-d^2 / 2 h^2) of each case, d the distance of places; of shape (cases,), in [0, 1]."""
    places = np.array([place(case.measures) for case in cases])
    squared = ((places - place(measures)) ** 2).sum(1)
    return np.exp(-squared / (2 * bandwidth**2))


def outlook(measures: CaseMeasures, cases: Sequence[Case], bandwidth: float) -> tuple[StrategyOutlook, ...]:
    """Expected accuracy of each strategy less that of fine-tuning everything: the mean of near cases (Nadaraya 1964).

    Args:
        measures: Of the case asked about.
        cases: Measured ones.
        bandwidth: h, above 0.

    Returns:
        Best first.
    """
    weights = nearness(measures, cases, bandwidth)
    # Far from all cases the nearest ones decide.
    weights = weights / weights.sum() if weights.sum() > 1e-12 else _nearest(measures, cases)
    effective = 1 / np.sum(weights**2)
    found = []
    for strategy in strategies_of(cases):
        differences = np.array([case.mean(strategy) - case.mean(BASE) for case in cases])
        mean = float(weights @ differences)
        variance = float(weights @ (differences - mean) ** 2)
        found.append(StrategyOutlook(strategy, mean, math.sqrt((variance + _PRIOR**2 / effective) / effective)))
    return tuple(sorted(found, key=lambda entry: -entry.difference))


def _nearest(measures: CaseMeasures, cases: Sequence[Case]) -> np.ndarray:
    places = np.array([place(case.measures) for case in cases])
    squared = ((places - place(measures)) ** 2).sum(1)
    return (squared == squared.min()) / np.sum(squared == squared.min())
