"""Proxy A-distance: how well a linear classifier tells the domains apart, with a classifier that is quick to refit."""

from __future__ import annotations

import numpy as np

from hf_transfer_kit.adaptation.alignment.standardisation import standardised
from hf_transfer_kit.adaptation.scores.proxy_distance import a_distance

FOLDS = 5
STRENGTH = 0.4
"""The logistic regression of ``adaptation.scores`` has 0.1, where its curvature is 1/4 of the squared error's."""


def linear_separation(rows: np.ndarray, deals: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """max(0, 2 (1 - 2 error)) on rows left out (Ben-David et al. 2007), for many deals at once.

    The classifier is ridge regression to the domain, on features standardised over all rows: what it says of a row left
    out is linear in the domains of the others, so that every deal has its own classifiers at the cost of one. Dealing
    anew against predictions that stand would be cheaper still, and wrong: folds share their training rows, so left-out
    accuracies of equal domains vary more than that shows. A row counts for the source when its score is nearer to the
    mean score of the source than of the target, both over the other folds. Domains count equally, whatever their sizes.

    Args:
        rows: Of both domains, (N, D), float64.
        deals: Whether a row is of the source, (P, N), bool; two or more of each domain.
        seed: Of the folds.

    Returns:
        (P,), in [0, 2].
    """
    scores, folds = _left_out_scores(standardised(rows), np.where(deals, 1.0, -1.0).T, seed)
    is_source = deals.T
    named_source = np.empty_like(is_source)
    for fold in range(folds.max() + 1):
        inside = folds == fold
        others, truth = scores[~inside], is_source[~inside]
        threshold = (_means(others, truth) + _means(others, ~truth)) / 2
        named_source[inside] = scores[inside] > threshold
    wrong = named_source != is_source
    errors = (_means(wrong, is_source) + _means(wrong, ~is_source)) / 2
    return np.array([a_distance(float(error)) for error in errors])


def _left_out_scores(rows: np.ndarray, domains: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """K_oi (K_ii + n strength I)^-1 (y_i - mean y_i) for o in each fold, i outside: (N, P), and folds (N,)."""
    count = len(rows)
    folds = np.random.default_rng(seed).permutation(count) % min(FOLDS, count)
    kernel = rows @ rows.T
    scores = np.empty_like(domains)
    for fold in range(folds.max() + 1):
        inside, outside = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        known = domains[outside]
        ridge = kernel[np.ix_(outside, outside)] + len(outside) * STRENGTH * np.eye(len(outside))
        scores[inside] = kernel[np.ix_(inside, outside)] @ np.linalg.solve(ridge, known - known.mean(0))
    return scores, folds


def _means(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Mean of the chosen values of each column, 0 where there are none, (P,)."""
    return np.where(chosen, values, 0.0).sum(0) / np.maximum(chosen.sum(0), 1)
