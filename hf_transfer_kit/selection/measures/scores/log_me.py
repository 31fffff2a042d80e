"""LogME: the evidence that features give for the classes, under a Bayesian linear model (You et al. 2021)."""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigh

from hf_transfer_kit.features.row_blocks import row_blocks
from hf_transfer_kit.features.row_sums import block_size, products, products_and_class_sums

_ITERATIONS = 1_000
_TOLERANCE = 1e-10


def log_me(features: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the classes of log p(y_c | F) / N, y_c being 1 in rows of class c and 0 elsewhere; higher is better.

    p(y | F) integrates N(y; F w, 1/beta) over w ~ N(0, 1/alpha), alpha and beta at their maximum, found by MacKay's
    fixed point. With the eigenvalues sigma and vectors u of F F^T, u_i^T y is all that an iteration needs, so the
    features are multiplied once, in blocks, whatever the number of classes and iterations.

    Args:
        features: F, of shape (N, D), finite; read in blocks.
        labels: Of shape (N,), two classes or more.

    Returns:
        A number without bounds, of the order of 1.

    Example:
        >>> log_me(features, labels) > log_me(np.random.default_rng(1).normal(size=(60, 4)), labels)
        True
    """
    classes, places = np.unique(labels, return_inverse=True)
    eigenvalues, projected = spectrum(features, places, len(classes))
    evidence = log_evidence(eigenvalues, projected, np.bincount(places).astype(np.float64), *np.shape(features))
    return float(np.mean(evidence) / len(labels))


def spectrum(features: np.ndarray, places: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues above rounding of F F^T, of shape (K,), and (u_i^T y_c)^2 for each class, of shape (K, C).

    F are the features scaled to a mean square of 1, read in blocks.

    Args:
        features: (N, D).
        places: Class of each row, in [0, C), (N,).
        classes: C.
    """
    features = np.asarray(features)
    rows, width = features.shape
    # Of the smaller of F^T F and F F^T, whose blocks are rows of F or of F^T.
    dealt = features.T if rows <= width else features
    size = block_size(dealt, "LogME", classes=classes)
    # The evidence does not change with their scale, rounding does: random networks give features of 1e-20.
    squares = sum(float(np.vdot(block, block)) for _, block in row_blocks(dealt, size))
    blocks = row_blocks(dealt, size, scale=np.sqrt(squares / features.size) or 1.0)
    if rows <= width:
        gram, sums = products(blocks, rows), (places == np.arange(classes)[:, None]).astype(np.float64)
    else:
        gram, sums = products_and_class_sums(blocks, places, classes, width)
    values, vectors = eigh(gram, overwrite_a=True, check_finite=False)
    kept = values > values[-1] * max(rows, width) * np.finfo(np.float64).eps
    values, projected = values[kept], ((sums @ vectors).T ** 2)[kept]
    return values, projected if rows <= width else projected / values[:, None]


def log_evidence(
    eigenvalues: np.ndarray, projected: np.ndarray, squared: np.ndarray, rows: int, width: int
) -> np.ndarray:
    """log p(y | F) at its maximum over alpha and beta, for each of C targets.

    Args:
        eigenvalues: Of F F^T, above zero, of shape (K,).
        projected: (u_i^T y)^2, of shape (K, C).
        squared: |y|^2, above zero, of shape (C,).
        rows: N.
        width: D.

    Returns:
        Of shape (C,).
    """
    sigma = eigenvalues[:, None]
    # What no weights can explain; below rounding of |y|^2 nothing is left of it.
    outside = np.maximum(squared - projected.sum(0), np.finfo(np.float64).eps * squared)  # (C,)
    alpha, beta = np.ones_like(squared), np.ones_like(squared)
    for _ in range(_ITERATIONS):
        posterior = alpha + beta * sigma  # (K, C)
        gamma = (beta * sigma / posterior).sum(0)  # number of weights that the data determine
        weights = (beta**2 * sigma * projected / posterior**2).sum(0)  # |m|^2
        residual = outside + ((alpha / posterior) ** 2 * projected).sum(0)  # |F m - y|^2
        before = alpha / beta
        # Features that explain nothing have no weights: alpha grows without end, and is of no account.
        alpha = np.minimum(np.maximum(gamma, 1e-12) / np.maximum(weights, 1e-300), 1e30)
        beta = np.maximum(rows - gamma, 1e-12) / residual
        if np.all(np.abs(alpha / beta - before) <= _TOLERANCE * before):
            break
    posterior = alpha + beta * sigma
    weights = (beta**2 * sigma * projected / posterior**2).sum(0)
    residual = outside + ((alpha / posterior) ** 2 * projected).sum(0)
    # Of the D weights only K meet the data: the others' log alpha cancels.
    determinant = np.log(posterior).sum(0) - len(eigenvalues) * np.log(alpha)
    return 0.5 * (rows * np.log(beta / (2 * np.pi)) - determinant - beta * residual - alpha * weights)
