"""Frechet distance: how far the Gaussians fitted to the domains are apart."""

from __future__ import annotations

import numpy as np

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
    return np.array([_frechet(coordinates[deal], coordinates[~deal]) for deal in deals])


def principal_coordinates(rows: np.ndarray, directions: int) -> np.ndarray:
    """Coordinates in the leading principal directions, (N, min(directions, N, D)); the mean is taken off."""
    centred = rows - rows.mean(0)
    count, width = centred.shape
    if width <= min(directions, count):
        return centred
    if width <= count:
        vectors = np.linalg.eigh(centred.T @ centred)[1]
        return centred @ vectors[:, ::-1][:, :directions]
    values, vectors = np.linalg.eigh(centred @ centred.T)
    return (vectors * np.sqrt(np.maximum(values, 0.0)))[:, ::-1][:, :directions]


def _frechet(source: np.ndarray, target: np.ndarray) -> float:
    means = source.mean(0), target.mean(0)
    roots = [
        np.linalg.qr(rows - mean, mode="r") / np.sqrt(len(rows) - 1)
        for rows, mean in zip((source, target), means, strict=True)
    ]
    overlap = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    spread = sum(np.sum(root**2) for root in roots)
    # Rounding alone takes it below 0.
    return max(0.0, float(np.sum((means[0] - means[1]) ** 2) + spread - 2 * overlap))
