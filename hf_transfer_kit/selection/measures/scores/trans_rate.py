"""TransRate: how much shorter features can be written down when their classes are known (Huang et al. 2022)."""

from __future__ import annotations

import numpy as np


def trans_rate(features: np.ndarray, labels: np.ndarray, *, distortion: float = 1e-4) -> float:
    """R(Z) - sum_c N_c/N R(Z_c), R(Z) = 1/2 log det(I + Z^T Z / (N e)); higher is better.

    Z are the features less their mean, scaled to a mean squared norm of 1, so that the distortion e means the same for
    every network. With fewer rows a class than features it says little: each class then fills what space it can.

    Args:
        features: Of shape (N, D), finite.
        labels: Of shape (N,).
        distortion: e, above 0.

    Returns:
        A number in nats.

    Example:
        >>> trans_rate(features, labels) > 0
        True
    """
    rows = np.asarray(features, dtype=np.float64)
    rows = rows - rows.mean(0)
    norm = np.sqrt(np.mean(np.sum(rows**2, axis=1)))
    if norm <= 0:
        return 0.0
    rows = rows / norm
    within = sum(len(own) / len(rows) * coding_rate(own, distortion) for own in _by_class(rows, labels))
    return float(coding_rate(rows, distortion) - within)


def coding_rate(rows: np.ndarray, distortion: float) -> float:
    """1/2 log det(I + Z^T Z / (N e)), by whichever of Z^T Z and Z Z^T is smaller."""
    count, width = rows.shape
    gram = rows @ rows.T if count < width else rows.T @ rows
    return 0.5 * float(np.linalg.slogdet(np.eye(len(gram)) + gram / (count * distortion))[1])


def _by_class(rows: np.ndarray, labels: np.ndarray) -> list[np.ndarray]:
    return [rows[labels == label] for label in np.unique(labels)]
