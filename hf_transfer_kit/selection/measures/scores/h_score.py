"""H-score: how much of the features' variance lies between the classes."""

from __future__ import annotations

import numpy as np

from hf_transfer_kit.features.row_blocks import row_blocks
from hf_transfer_kit.features.row_sums import block_size, means_and_spreads, products_and_class_sums


def h_score(features: np.ndarray, labels: np.ndarray, *, shrinkage: float | None = None) -> float:
    """(1 - a) tr(S_a^-1 S_between), S_a = (1 - a) S + a tr(S)/D I; higher is better.

    S is the covariance of the features and S_between that of the means of their classes (Bao et al. 2019); the
    shrinkage a of Ledoit and Wolf keeps it meaningful with few rows or dependent features (Ibrahim et al. 2022).

    Args:
        features: Of shape (N, D), finite; read in blocks.
        labels: Of shape (N,), two classes or more.
        shrinkage: a in [0, 1]; 0 is Bao's, which wants more rows than features. None estimates it.

    Returns:
        In [0, C - 1] for C classes.

    Example:
        >>> round(h_score(features, labels), 2) > 0
        True
    """
    from scipy.linalg import cho_factor, cho_solve

    features = np.asarray(features)
    rows, width = features.shape
    classes, places = np.unique(labels, return_inverse=True)
    size = block_size(features, "the H-score", matrices=4 * max(1.0, width / rows), classes=len(classes))
    mean, _ = means_and_spreads(features, size)
    covariance, sums = products_and_class_sums(row_blocks(features, size, shift=mean), places, len(classes), width)
    covariance /= rows
    scale = np.trace(covariance) / width
    if scale <= 0:
        return 0.0
    if shrinkage is None:
        fourth = sum(
            float(np.square(np.einsum("nd,nd->n", block, block)).sum())
            for _, block in row_blocks(features, size, shift=mean)
        )
        shrinkage = ledoit_wolf(covariance, fourth / rows, rows)
    # Rounding alone must not make a singular covariance look like a regular one.
    ridge = shrinkage * scale + np.finfo(np.float64).eps * width * scale
    covariance *= 1 - shrinkage
    covariance[np.diag_indices(width)] += ridge
    counts = np.bincount(places)
    means = sums / counts[:, None]  # (C, D)
    solved = cho_solve(cho_factor(covariance, lower=True, overwrite_a=True), means.T)  # (D, C)
    return float((1 - shrinkage) * np.sum(counts / rows * np.einsum("cd,dc->c", means, solved)))


def ledoit_wolf(covariance: np.ndarray, fourth: float, rows: int) -> float:
    """Shrinkage towards tr(S)/D I with the least expected squared error (Ledoit and Wolf 2004, lemma 3.3), in [0, 1].

    Args:
        covariance: S, (D, D), of centred rows, divided by their number.
        fourth: Mean over the rows of |x|^4.
        rows: N.
    """
    width = len(covariance)
    squared = float(np.sum(covariance**2))
    apart = squared - np.trace(covariance) ** 2 / width  # |S - tr(S)/D I|^2
    return min(max((fourth - squared) / rows, 0.0), apart) / apart if apart > 0 else 0.0
