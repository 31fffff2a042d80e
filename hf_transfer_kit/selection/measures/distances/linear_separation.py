"""Proxy A-distance: how well a linear classifier tells the domains apart, with a classifier that is quick to refit."""

from __future__ import annotations

import numpy as np

from hf_transfer_kit.adaptation.alignment.standardisation import shift_and_scale
from hf_transfer_kit.adaptation.scores.proxy_distance import a_distance
from hf_transfer_kit.features.row_blocks import row_blocks
from hf_transfer_kit.features.row_sums import block_size

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
    scores, folds = _left_out_scores(rows, deals.T, seed)
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


def _left_out_scores(rows: np.ndarray, is_source: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Z_i (Z_o^T Z_o + n strength I)^-1 Z_o^T (y - mean y) for i in each fold, o outside: (N, P), and folds (N,).

    Z are the standardised rows, y is 1 for the source and -1 for the target. Of fewer rows than features the same is
    found as K_io (K_oo + n strength I)^-1 (y - mean y), K = Z Z^T.
    """
    count, width = rows.shape
    folds = np.random.default_rng(seed).permutation(count) % min(FOLDS, count)
    shift, scale = shift_and_scale(rows)
    if count <= width:
        block_size(rows, "the linear classifier of the domains", matrices=5)  # or a sentence
        _, few = next(row_blocks(rows, count, shift=shift, scale=scale))
        return _from_kernel(few @ few.T, folds, is_source), folds
    permutations = is_source.shape[1]
    size = block_size(rows, "the linear classifier of the domains", matrices=5, classes=2 * permutations)

    def sums(chosen: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Z^T Z, Z^T y and Z^T 1 of the chosen rows."""
        gram, of_domains, of_ones = np.zeros((width, width)), np.zeros((width, permutations)), np.zeros(width)
        for place, block in row_blocks(rows, size, chosen=chosen, shift=shift, scale=scale):
            gram += block.T @ block
            of_domains += block.T @ _signs(is_source[place if chosen is None else chosen[place]])
            of_ones += block.sum(0)
        return gram, of_domains, of_ones

    whole, scores = sums(None), np.empty(is_source.shape)
    for fold in range(folds.max() + 1):
        inside = np.flatnonzero(folds == fold)
        ridge, of_domains, of_ones = (all_ - own for all_, own in zip(whole, sums(inside), strict=True))
        outside = count - len(inside)
        ridge[np.diag_indices(width)] += outside * STRENGTH
        mean = 2 * is_source[folds != fold].mean(0) - 1
        weight = np.linalg.solve(ridge, of_domains - of_ones[:, None] * mean)
        for place, block in row_blocks(rows, size, chosen=inside, shift=shift, scale=scale):
            scores[inside[place]] = block @ weight
    return scores, folds


def _from_kernel(kernel: np.ndarray, folds: np.ndarray, is_source: np.ndarray) -> np.ndarray:
    scores = np.empty(is_source.shape)
    for fold in range(folds.max() + 1):
        inside, outside = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        known = _signs(is_source[outside])
        ridge = kernel[np.ix_(outside, outside)]
        ridge[np.diag_indices(len(outside))] += len(outside) * STRENGTH
        scores[inside] = kernel[np.ix_(inside, outside)] @ np.linalg.solve(ridge, known - known.mean(0))
    return scores


def _signs(is_source: np.ndarray) -> np.ndarray:
    return np.where(is_source, 1.0, -1.0)


def _means(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Mean of the chosen values of each column, 0 where there are none, (P,)."""
    return np.where(chosen, values, 0.0).sum(0) / np.maximum(chosen.sum(0), 1)
