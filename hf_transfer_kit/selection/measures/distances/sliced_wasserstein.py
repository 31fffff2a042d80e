"""Sliced Wasserstein distance: how far rows must be moved, seen along random directions."""

from __future__ import annotations

import numpy as np

from hf_transfer_kit.features.row_blocks import row_blocks, rows_at_once, slices
from hf_transfer_kit.features.row_sums import block_size

PROJECTIONS = 128
"""Number of random directions."""


def sliced_wasserstein(
    rows: np.ndarray, deals: np.ndarray, *, projections: int = PROJECTIONS, seed: int = 0
) -> np.ndarray:
    """(mean over directions of W_2^2)^(1/2) (Bonneel et al. 2015; p = 2), for many deals at once.

    Along a direction W_2^2 is the integral over u in (0, 1) of (Q_s(u) - Q_t(u))^2, Q the quantiles of the projected
    rows: exact for samples of unequal sizes, and the mean squared difference of sorted rows for equal ones. In the
    units of the features; a shift of length d gives d / sqrt(D) on average over directions.

    Args:
        rows: Of both domains, (N, D), float64.
        deals: Whether a row is of the source, (P, N), bool; all with as many source rows, one or more of each domain.
        projections: Number of directions, uniform on the sphere, 1 or more.
        seed: Of the directions.

    Returns:
        (P,), not negative.
    """
    directions = np.random.default_rng(seed).normal(size=(rows.shape[1], projections))
    directions /= np.linalg.norm(directions, axis=0)
    own, other, lengths = _common_steps(int(deals[0].sum()), int((~deals[0]).sum()))
    at_once = rows_at_once(8 * 8 * len(rows), few=1, what="the sliced Wasserstein distance")
    size, mean = block_size(rows, "the sliced Wasserstein distance", matrices=0), rows.mean(0)
    found = np.zeros(len(deals))
    for some in slices(projections, at_once):
        projected = np.empty((some.stop - some.start, len(rows)))
        for place, block in row_blocks(rows, size, shift=mean):
            projected[:, place] = (block @ directions[:, some]).T
        order = projected.argsort(axis=1)
        projected = np.take_along_axis(projected, order, axis=1)
        for index, deal in enumerate(deals):
            is_source = deal[order]
            # Each direction has the same number of source rows, in rising order.
            source = projected[is_source].reshape(len(projected), -1)
            target = projected[~is_source].reshape(len(projected), -1)
            found[index] += ((source[:, own] - target[:, other]) ** 2 @ lengths).sum()
    return np.sqrt(found / projections)


def _common_steps(sources: int, targets: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Intervals of (0, 1) on which both quantile functions are constant.

    Returns:
        Which sorted source row, which sorted target row, and the interval's length, each (M,).
    """
    # In units of 1 / (sources * targets), so that equal edges are equal.
    edges = np.union1d(np.arange(sources + 1) * targets, np.arange(targets + 1) * sources)
    return edges[:-1] // targets, edges[:-1] // sources, np.diff(edges) / (sources * targets)
