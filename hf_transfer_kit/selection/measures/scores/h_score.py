"""H-score: how much of the features' variance lies between the classes."""

from __future__ import annotations

import numpy as np


def h_score(features: np.ndarray, labels: np.ndarray, *, shrinkage: float | None = None) -> float:
    """(1 - a) tr(S_a^-1 S_between), S_a = (1 - a) S + a tr(S)/D I; higher is better.

    S is the covariance of the features and S_between that of the means of their classes (Bao et al. 2019); the
    shrinkage a of Ledoit and Wolf keeps it meaningful with few rows or dependent features (Ibrahim et al. 2022).

    Args:
        features: Of shape (N, D), finite.
        labels: Of shape (N,), two classes or more.
        shrinkage: a in [0, 1]; 0 is Bao's, which wants more rows than features. None estimates it.

    Returns:
        In [0, C - 1] for C classes.

    Example:
        >>> round(h_score(features, labels), 2) > 0
        True
    """
    from scipy.linalg import cho_factor, cho_solve
    from sklearn.covariance import ledoit_wolf_shrinkage

    centred = np.asarray(features, dtype=np.float64)
    centred = centred - centred.mean(0)
    covariance = centred.T @ centred / len(centred)
    width = covariance.shape[0]
    scale = np.trace(covariance) / width
    if scale <= 0:
        return 0.0
    if shrinkage is None:
        shrinkage = float(ledoit_wolf_shrinkage(centred, assume_centered=True))
    # Rounding alone must not make a singular covariance look like a regular one.
    ridge = shrinkage * scale + np.finfo(np.float64).eps * width * scale
    covariance *= 1 - shrinkage
    covariance[np.diag_indices(width)] += ridge
    classes, counts = np.unique(labels, return_counts=True)
    means = np.stack([centred[labels == c].mean(0) for c in classes])  # (C, D)
    solved = cho_solve(cho_factor(covariance, lower=True), means.T)  # (D, C)
    return float((1 - shrinkage) * np.sum(counts / len(labels) * np.einsum("cd,dc->c", means, solved)))
