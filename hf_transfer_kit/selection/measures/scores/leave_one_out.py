"""Accuracy of a ridge classifier, each row predicted from all others: exact, from one decomposition."""

from __future__ import annotations

import numpy as np

_STRENGTHS = (1.0, 1e-1, 1e-2)


def leave_one_out_accuracy(features: np.ndarray, labels: np.ndarray) -> float:
    """Share of rows whose class is predicted by ridge regression on the other rows, in [0, 1].

    Args:
        features: Of shape (N, D), finite.
        labels: Of shape (N,), two classes or more.
    """
    scores, index, _ = leave_one_out_scores(features, labels)
    return float(np.mean(scores.argmax(1) == index))


def leave_one_out_scores(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What ridge regression on all other rows, with the most accurate of three strengths, says of each row.

    With the hat matrix H = 11^T/N + K (K + s I)^-1, K = Z Z^T/D of standardised features, the prediction for row i
    without it is (H y - h_ii y)_i / (1 - h_ii) (Allen 1974). Fit for a handful of rows, where folds leave too few.

    Args:
        features: Of shape (N, D), finite.
        labels: Of shape (N,), two classes or more.

    Returns:
        Scores of shape (N, C), about 1 for a row's class and -1 for others; place of each row's class among the C
        classes, (N,); and the classes, (C,).
    """
    rows = np.asarray(features, dtype=np.float64)
    spread = rows.std(0)
    standard = (rows - rows.mean(0)) / np.where(spread > 0, spread, 1)
    values, vectors = np.linalg.eigh(standard @ standard.T / standard.shape[1])
    classes, index = np.unique(labels, return_inverse=True)
    targets = np.where(index[:, None] == np.arange(len(classes)), 1.0, -1.0)  # (N, C)
    best, most = targets, -1.0
    for strength in _STRENGTHS:
        shrunk = np.maximum(values, 0) / (np.maximum(values, 0) + strength)
        fitted = targets.mean(0) + (vectors * shrunk) @ (vectors.T @ targets)  # H y
        leverage = 1 / len(rows) + (vectors**2) @ shrunk  # h
        left_out = (fitted - leverage[:, None] * targets) / np.maximum(1 - leverage, 1e-12)[:, None]
        accuracy = np.mean(left_out.argmax(1) == index)
        if accuracy > most:
            best, most = left_out, accuracy
    return best, index, classes
