"""Deep embedded validation: source errors weighted by how much each source row looks like the target."""

from __future__ import annotations

import numpy as np

from hf_transfer_kit.adaptation.scores.domain_classifier import source_probabilities
from hf_transfer_kit.errors import DataError


def importance_weights(source: np.ndarray, target: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """w = P(target | f) / P(source | f) for each source row, domains counting equally: about q(f) / p(f).

    Args:
        source: Features, (S, D), two rows or more.
        target: Features, (T, D), likewise.
        seed: Of the folds.

    Returns:
        (S,), not negative.

    Raises:
        DataError: When a domain has fewer than two rows.
    """
    own, _ = source_probabilities(source, target, seed=seed)
    own = np.clip(own, 1e-6, 1 - 1e-6)
    return (1 - own) / own


def weighted_risk(losses: np.ndarray, weights: np.ndarray) -> float:
    """mean(w l) + eta mean(w) - eta with eta = -cov(w l, w) / var(w) (You et al. 2019, DEV).

    The expectation of w is 1, so the last terms change nothing on average and take variance away.

    Args:
        losses: l, (S,).
        weights: w, (S,), not negative.

    Raises:
        DataError: When they differ in length.
    """
    losses, weights = np.asarray(losses, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    if losses.shape != weights.shape or losses.ndim != 1 or not len(losses):
        raise DataError(f"losses have the shape {losses.shape} and weights {weights.shape}; give one of each a row.")
    weighted = losses * weights
    variance = weights.var()
    eta = 0.0 if variance < 1e-12 else -np.mean((weighted - weighted.mean()) * (weights - weights.mean())) / variance
    return float(weighted.mean() + eta * weights.mean() - eta)


def deep_embedded_validation(source: np.ndarray, target: np.ndarray, losses: np.ndarray, *, seed: int = 0) -> float:
    """Estimate of the mean loss on the target; smaller is better (You et al. 2019).

    Args:
        source: Features of source rows that were not trained on, (S, D).
        target: Features of target rows, (T, D).
        losses: Of the source rows, (S,), such as 1 where the class is wrong.
        seed: Of the folds of the domain classifier.

    Raises:
        DataError: When a domain has fewer than two rows, or the losses are of other rows.

    Example:
        >>> losses = (np.arange(60) % 5 == 0).astype(float)
        >>> 0 <= deep_embedded_validation(features, target_features, losses) <= 1
        True
    """
    return weighted_risk(losses, importance_weights(source, target, seed=seed))
