"""CORAL: how far the domains' covariances are apart."""

from __future__ import annotations

import numpy as np

from hf_transfer_kit.features.row_blocks import rows_at_once, slices


def covariance_distances(rows: np.ndarray, deals: np.ndarray) -> np.ndarray:
    """|C_s - C_t|_F^2 / (4 D^2) (Sun and Saenko 2016), as ``adaptation.objectives.coral``, for many deals at once.

    The covariances are never formed: |C_s|^2, |C_t|^2 and <C_s, C_t> are sums over the products of rows, which all
    deals share. Time grows with the square of the rows, memory does not: the products are made in blocks. Means do not
    count. The value grows with the fourth power of the features' scale.

    Deals mix the domains' means into their covariances, so that next to a large difference of means one of covariances
    may pass for chance. Taking the means off first would be wrong: with few rows for many features, equal domains would
    then come out as different far too often.

    Args:
        rows: Of both domains, (N, D), float64.
        deals: Whether a row is of the source, (P, N), bool; all with as many source rows, two or more of each domain.

    Returns:
        (P,), not negative.
    """
    count, width = rows.shape
    permutations = len(deals)
    beside = 8 * count * (width + 2 * permutations)
    size = rows_at_once(8 * (4 * count + 12 * permutations), beside=beside, what="the distance of covariances")
    centred = rows - rows.mean(0)
    source = np.ascontiguousarray(deals.T, dtype=np.float64)  # (N, P)
    sums = {pair: np.zeros((4, permutations)) for pair in ("source", "target", "cross")}
    for place in slices(count, size):
        products = centred[place] @ centred.T  # (n, N)
        squares = products**2
        to_source, of_source = products @ source, squares @ source
        to_target, of_target = products.sum(1)[:, None] - to_source, squares.sum(1)[:, None] - of_source
        own, other = source[place], 1 - source[place]
        sums["source"] += _sums(own, own, to_source, to_source, of_source)
        sums["target"] += _sums(other, other, to_target, to_target, of_target)
        sums["cross"] += _sums(own, other, to_target, to_source, of_source)
    sources = source[:, 0].sum()
    targets = count - sources
    same = _product(sums["source"], sources, sources) + _product(sums["target"], targets, targets)
    return np.maximum(same - 2 * _product(sums["cross"], sources, targets), 0.0) / (4 * width**2)


def _sums(
    first: np.ndarray, second: np.ndarray, to_second: np.ndarray, to_first: np.ndarray, squares: np.ndarray
) -> np.ndarray:
    """What a block of rows adds, (4, P).

    Args:
        first: Whether a row of the block is of the first domain, (n, P).
        second: Of the second.
        to_second: Sum of its products with the rows of the second domain, (n, P).
        to_first: With those of the first.
        squares: Sum of its squared products with those of the first.
    """
    return np.stack(
        [
            np.einsum("np,np->p", second, squares),
            np.einsum("np,np->p", first, to_second),
            np.einsum("np,np,np->p", first, to_second, to_second),
            np.einsum("np,np,np->p", second, to_first, to_first),
        ]
    )


def _product(sums: np.ndarray, a: float, b: float) -> np.ndarray:
    """<C_a, C_b> of the rows of two domains, a and b many, (P,).

    With A, B the rows less their means, it is |A B^T|_F^2 / ((a - 1) (b - 1)); centring the products takes row and
    column means out of the sum of squares.
    """
    squares, total, by_row, by_column = sums
    return (squares - by_row / b - by_column / a + total**2 / (a * b)) / ((a - 1) * (b - 1))
