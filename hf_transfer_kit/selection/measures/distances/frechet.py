"""Frechet distance: how far the Gaussians fitted to the domains are apart."""

from __future__ import annotations

import numpy as np

from hf_transfer_kit.features.row_blocks import holding, row_blocks
from hf_transfer_kit.features.row_sums import block_size, means_and_spreads, products, triangular_root

DIRECTIONS = 256
"""At most so many principal directions of both domains together are looked at."""


def frechet_distances(rows: np.ndarray, deals: np.ndarray, *, directions: int = DIRECTIONS) -> np.ndarray:
    """|m_s - m_t|^2 + tr(C_s + C_t - 2 (C_s C_t)^(1/2)) (Dowson and Landau 1982; FID, Heusel et al. 2017).

    The squared 2-Wasserstein distance of two Gaussians. With C = R^T R, the trace of the root is the sum of the
    singular values of R_s R_t^T, which holds whatever the ranks: rows may be fewer than features, and nothing is added
    to the covariances. Looked at are the leading principal directions of both domains together, which lose nothing
    where ``directions`` are as many as features or rows; beyond, the covariances of a thousand rows are mostly noise.
    The value grows with the square of the features' scale, and with noise where rows are few: see the deals.

    Args:
        rows: Of both domains, (N, D), float64.
        deals: Whether a row is of the source, (P, N), bool; two or more of each domain.
        directions: At most so many, 1 or more.

    Returns:
        (P,), not negative.
    """
    coordinates = principal_coordinates(rows, directions)
    with holding(coordinates.nbytes, "the coordinates of the Frechet distance"):
        return np.array([_frechet(coordinates, deal) for deal in deals])


def principal_coordinates(rows: np.ndarray, directions: int) -> np.ndarray:
    """Coordinates in the leading principal directions, (N, min(directions, N, D)); the mean is taken off."""
    count, width = rows.shape
    size = block_size(rows, "the Frechet distance", matrices=5)
    mean, _ = means_and_spreads(rows, size)
    if width > count:
        _, centred = next(row_blocks(rows, count, shift=mean))
        values, vectors = np.linalg.eigh(centred @ centred.T)
        return (vectors * np.sqrt(np.maximum(values, 0.0)))[:, ::-1][:, :directions]
    turned = None
    if width > directions:
        turned = np.linalg.eigh(products(row_blocks(rows, size, shift=mean), width))[1][:, ::-1][:, :directions]
    found = np.empty((count, min(width, directions)))
    for place, block in row_blocks(rows, size, shift=mean):
        found[place] = block if turned is None else block @ turned
    return found


def _frechet(coordinates: np.ndarray, is_source: np.ndarray) -> float:
    size, width = block_size(coordinates, "the Frechet distance", copies=5), coordinates.shape[1]
    means, roots = [], []
    for of_domain in (is_source, ~is_source):
        chosen = np.flatnonzero(of_domain)
        mean, _ = means_and_spreads(coordinates, size, chosen=chosen)
        root = triangular_root(row_blocks(coordinates, size, chosen=chosen, shift=mean), width)
        means.append(mean)
        roots.append(root / np.sqrt(len(chosen) - 1))
    overlap = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    spread = sum(np.sum(root**2) for root in roots)
    # Rounding alone takes it below 0.
    return max(0.0, float(np.sum((means[0] - means[1]) ** 2) + spread - 2 * overlap))
