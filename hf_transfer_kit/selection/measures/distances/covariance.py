"""CORAL: how far the domains' covariances are apart."""

from __future__ import annotations

import numpy as np


def covariance_distances(rows: np.ndarray, deals: np.ndarray) -> np.ndarray:
    """|C_s - C_t|_F^2 / (4 D^2) (Sun and Saenko 2016), as ``adaptation.objectives.coral``, for many deals at once.

    The covariances are never formed: |C_s|^2, |C_t|^2 and <C_s, C_t> are sums over the products of rows, which all
    deals share. Means do not count. The value grows with the fourth power of the features' scale.

    Deals mix the domains' means into their covariances, so that next to a large difference of means one of covariances
    may pass for chance. Taking the means off first would be wrong: with few rows for many features, equal domains would
    then come out as different far too often.

    Args:
        rows: Of both domains, (N, D), float64.
        deals: Whether a row is of the source, (P, N), bool; all with as many source rows, two or more of each domain.

    Returns:
        (P,), not negative.
    """
    centred = rows - rows.mean(0)
    products = centred @ centred.T
    squares = products**2
    source = deals.astype(np.float64)
    target = 1 - source
    pairs = (source, source), (target, target), (source, target)
    own, other, cross = (_covariance_product(products, squares, *pair) for pair in pairs)
    return np.maximum(own + other - 2 * cross, 0.0) / (4 * rows.shape[1] ** 2)


def _covariance_product(products: np.ndarray, squares: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """<C_a, C_b> of the rows of ``first`` and of ``second``, (P,).

    With A, B the rows less their means, it is |A B^T|_F^2 / ((a - 1) (b - 1)); centring the products takes row and
    column means out of the sum of squares.
    """
    a, b = first[0].sum(), second[0].sum()
    by_row, by_column = second @ products, first @ products
    total = (first * by_row).sum(1)
    centred = (first @ squares * second).sum(1) - (first * by_row**2).sum(1) / b - (second * by_column**2).sum(1) / a
    return (centred + total**2 / (a * b)) / ((a - 1) * (b - 1))
