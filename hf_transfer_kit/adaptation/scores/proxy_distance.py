"""Proxy A-distance: how well a linear classifier tells the domains apart."""

from __future__ import annotations

import numpy as np

from hf_transfer_kit.adaptation.scores.domain_classifier import source_probabilities


def proxy_a_distance(source: np.ndarray, target: np.ndarray, *, seed: int = 0) -> float:
    """max(0, 2 (1 - 2 error)), the error on rows left out, in [0, 2]; smaller is better (Ben-David et al. 2007).

    0: no linear classifier does better than chance; 2: it is never wrong. Small values are needed for adaptation by
    invariance, and do not suffice: features that forget the classes have the smallest.

    Args:
        source: Features, (S, D), two rows or more.
        target: Features, (T, D), likewise.
        seed: Of the folds.

    Raises:
        DataError: When a domain has fewer than two rows.

    Example:
        >>> proxy_a_distance(features, features + 100.0)
        2.0
    """
    own, other = source_probabilities(source, target, seed=seed)
    return a_distance(float((np.mean(own <= 0.5) + np.mean(other > 0.5)) / 2))


def a_distance(error: float) -> float:
    """max(0, 2 (1 - 2 error)), of the error of telling domains apart, in [0, 1]."""
    return max(0.0, 2 * (1 - 2 * error))
