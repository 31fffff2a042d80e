"""Maximum mean discrepancy: how far the domains' means are apart in a kernel's space."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hf_transfer_kit.adaptation.objectives.mmd import FACTORS
from hf_transfer_kit.features.row_blocks import holding, rows_at_once, slices

_DIGITS = (62, 46, 30, 14, 0)
"""Where the digits of a distance are cut when the median is sought: 16 at a time, of 62."""


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
    source = np.ascontiguousarray(deals.T, dtype=np.float64)  # (N, P)
    count, permutations = len(rows), len(deals)
    beside = 8 * count * (rows.shape[1] + permutations)
    with holding(beside, "the mean discrepancy"):
        rows = _of_size_one(rows)
        bandwidth = max(_median_distance(rows), 1e-12)
        size = rows_at_once(8 * (6 * count + 3 * permutations), what="the mean discrepancy")
        sums_source, sums_cross, total = np.zeros(permutations), np.zeros(permutations), 0.0
        for place, kernel in _kernel_blocks(rows, bandwidth, size):
            to_source = kernel @ source  # (n, P)
            of_all = kernel.sum(1)[:, None]
            sums_source += np.einsum("np,np->p", source[place], to_source)
            sums_cross += np.einsum("np,np->p", source[place], of_all - to_source)
            total += of_all.sum()
    sums_target = total - sums_source - 2 * sums_cross
    sources = source[:, 0].sum()
    targets = count - sources
    if biased:
        # Rounding alone takes it below 0.
        found = sums_source / sources**2 + sums_target / targets**2 - 2 * sums_cross / (sources * targets)
        return np.maximum(found, 0.0)
    # The diagonal is all ones.
    own = (sums_source - sources) / (sources * (sources - 1)) + (sums_target - targets) / (targets * (targets - 1))
    return own - 2 * sums_cross / (sources * targets)


def _of_size_one(rows: np.ndarray) -> np.ndarray:
    """Rows less their mean, divided by their largest number: the smallest bandwidth that is allowed is absolute."""
    rows = rows - rows.mean(0)
    size = max(rows.max(), -rows.min())
    if size > 0:
        rows /= size
    return rows


def _kernel_blocks(rows: np.ndarray, bandwidth: float, size: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Rows of the kernel matrix, ``size`` at a time."""
    norms = np.einsum("nd,nd->n", rows, rows)
    for place in slices(len(rows), size):
        distances = _distances(rows[place], rows, norms[place], norms)
        distances[np.arange(len(distances)), np.arange(place.start, place.stop)] = 0
        kernel = np.zeros_like(distances)
        for factor in FACTORS:
            term = distances / (-factor * bandwidth)
            kernel += np.exp(term, out=term)
        kernel /= len(FACTORS)
        yield place, kernel


def _distances(some: np.ndarray, others: np.ndarray, of_some: np.ndarray, of_others: np.ndarray) -> np.ndarray:
    """Squared distances of rows, from products and the rows' squared lengths."""
    found = some @ others.T
    found *= -2
    found += of_some[:, None]
    found += of_others
    return np.maximum(found, 0, out=found)


def _median_distance(rows: np.ndarray) -> float:
    """The lower median over pairs of different rows, exactly, whatever the distances are, without holding all of them.

    Distances are counted by their leading binary digits, then those of the median's by the next ones, until so few
    are left that they can be sorted.
    """
    left = len(rows) * (len(rows) - 1) // 2
    rank = (left - 1) // 2
    norms = np.einsum("nd,nd->n", rows, rows)
    highest = 4 * float(norms.max()) or 1.0
    room = rows_at_once(8 * 10, what="the median distance", few=2**16)
    size = max(1, room // len(rows))
    known, level = 0, 0
    while left > room and level < len(_DIGITS) - 1:
        above, below = _DIGITS[level : level + 2]
        counts = np.zeros(2 ** (above - below), dtype=np.int64)
        for distances in _upper_blocks(rows, norms, size):
            digits = _digits(distances, highest)
            digits = digits[digits >> above == known]
            counts += np.bincount((digits >> below) - (known << (above - below)), minlength=len(counts))
        place = int(np.searchsorted(np.cumsum(counts), rank + 1))
        rank -= int(counts[:place].sum())
        left, known, level = int(counts[place]), (known << (above - below)) + place, level + 1
    if left > room:
        return known / 2 ** _DIGITS[0] * highest  # all that are left are equal up to rounding
    cut = _DIGITS[level]
    members = [found[_digits(found, highest) >> cut == known] for found in _upper_blocks(rows, norms, size)]
    return float(np.partition(np.concatenate(members), rank)[rank])


def _digits(distances: np.ndarray, highest: float) -> np.ndarray:
    """Distances as whole numbers of 62 binary digits, of which equal order is all that matters."""
    return np.minimum((distances * (2.0 ** _DIGITS[0] / highest)).astype(np.int64), 2 ** _DIGITS[0] - 1)


def _upper_blocks(rows: np.ndarray, norms: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Distances of each pair of different rows once."""
    for place in slices(len(rows), size):
        later = slice(place.start, None)
        distances = _distances(rows[place], rows[later], norms[place], norms[later])
        yield distances[np.arange(distances.shape[1]) > np.arange(len(distances))[:, None]]
