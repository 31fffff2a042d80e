"""Maximum mean discrepancy: how far the domains' means are apart in a kernel's space."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import numpy as np

from hf_transfer_kit.adaptation.objectives.mmd import FACTORS

_BLOCK = 2**23
"""Numbers of a block of the kernel matrix: 64 MiB."""
_BINS = 2**16


def mean_discrepancy(rows: np.ndarray, deals: np.ndarray, *, biased: bool = False) -> np.ndarray:
    """Squared MMD under a mean of Gaussian kernels (Gretton et al. 2012; Long et al. 2015), for many deals at once.

    Unbiased: mean k(s, s') over different rows + mean k(t, t') over different rows - 2 mean k(s, t); 0 on average for
    equal distributions, so below 0 at times. Biased: all pairs, a row with itself as well; never negative, and what
    training with ``mmd`` minimises. The bandwidths are multiples of the median squared distance of all rows, so that
    the value depends neither on the scale of the features nor on the deal. Time grows with the square of the rows,
    memory does not: the kernel is made in blocks.

    Args:
        rows: Of both domains, (N, D), float64.
        deals: Whether a row is of the source, (P, N), bool; all with as many source rows, two or more of each domain.
        biased: Which of the two.

    Returns:
        (P,).
    """
    source = deals.astype(np.float64)
    target = 1 - source
    sums_source = sums_cross = 0.0
    total = 0.0
    for start, kernel in _kernel_blocks(rows):
        within = source[:, start : start + len(kernel)] @ kernel
        sums_source = sums_source + (within * source).sum(1)
        sums_cross = sums_cross + (within * target).sum(1)
        total += kernel.sum()
    sums_target = total - sums_source - 2 * sums_cross
    sources = source[0].sum()
    targets = len(rows) - sources
    if biased:
        # Rounding alone takes it below 0.
        found = sums_source / sources**2 + sums_target / targets**2 - 2 * sums_cross / (sources * targets)
        return np.maximum(found, 0.0)
    # The diagonal is all ones.
    own = (sums_source - sources) / (sources * (sources - 1)) + (sums_target - targets) / (targets * (targets - 1))
    return own - 2 * sums_cross / (sources * targets)


def _kernel_blocks(rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Rows of the kernel matrix, so many at a time that ``_BLOCK`` numbers are held; where each block begins."""
    rows = rows - rows.mean(0)
    size = np.abs(rows).max()
    # The smallest bandwidth that the kernels allow is absolute, so rows come to size 1 first.
    rows = rows / size if size > 0 else rows
    bandwidth = max(_median_distance(rows), 1e-12)
    for start, distances in _distance_blocks(rows):
        total = cast(np.ndarray, sum(np.exp(-distances / (factor * bandwidth)) for factor in FACTORS))
        yield start, total / len(FACTORS)


def _distance_blocks(rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Rows of the matrix of squared distances, zero on its diagonal."""
    norms = np.square(rows).sum(1)
    count = max(1, _BLOCK // len(rows))
    for start in range(0, len(rows), count):
        block = rows[start : start + count]
        distances = np.maximum(norms[start : start + count, None] + norms - 2 * block @ rows.T, 0)
        distances[np.arange(len(block)), start + np.arange(len(block))] = 0
        yield start, distances


def _median_distance(rows: np.ndarray) -> float:
    """The lower median over pairs of different rows, exactly, without holding all of them.

    One pass counts distances in bins, a second one sorts those of the bin that the median lies in.
    """
    pairs = len(rows) * (len(rows) - 1) // 2
    rank = (pairs - 1) // 2
    if len(rows) ** 2 <= _BLOCK:
        ((_, distances),) = _distance_blocks(rows)
        upper = distances[np.triu_indices(len(rows), 1)]
        return float(np.partition(upper, rank)[rank])
    highest = 4 * float(np.square(rows).sum(1).max()) or 1.0
    counts = np.zeros(_BINS, dtype=np.int64)
    for _, upper in _upper_blocks(rows):
        counts += np.bincount(_bins(upper, highest), minlength=_BINS)
    bin_ = int(np.searchsorted(np.cumsum(counts), rank + 1))
    before = int(counts[:bin_].sum())
    inside = []
    for _, upper in _upper_blocks(rows):
        inside.append(upper[_bins(upper, highest) == bin_])
    return float(np.partition(np.concatenate(inside), rank - before)[rank - before])


def _bins(distances: np.ndarray, highest: float) -> np.ndarray:
    return np.minimum((distances * (_BINS / highest)).astype(np.int64), _BINS - 1)


def _upper_blocks(rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Distances of each pair of different rows once."""
    for start, distances in _distance_blocks(rows):
        below = np.arange(len(rows)) > (start + np.arange(len(distances)))[:, None]
        yield start, distances[below]
