"""Scores of all target predictions together: the matrix of probabilities, rows by classes."""

from __future__ import annotations

import numpy as np

from hf_transfer_kit.adaptation.scores.domain_outputs import probabilities


def nuclear_norm(logits: np.ndarray) -> float:
    """Sum of the singular values of P over its upper bound sqrt(T min(T, C)), in (0, 1]; larger is better.

    1 when predictions are sure and classes equally frequent: batch nuclear norm (Cui et al. 2020) as a score.

    Args:
        logits: (T, C).

    Example:
        >>> round(nuclear_norm(logits), 3)
        0.88
    """
    p = probabilities(logits)
    return float(np.linalg.svd(p, compute_uv=False).sum() / np.sqrt(len(p) * min(p.shape)))


def class_correlation(logits: np.ndarray) -> float:
    """Cosine of P^T P and the identity, trace(K) / (sqrt(C) |K|_F), in [1/sqrt(C), 1]; larger is better.

    1 when predictions are sure and classes equally frequent, 1/sqrt(C) when all rows say the same, sure or not. After
    the class correlation (Corr-C) of Tu et al. 2023.

    Args:
        logits: (T, C).

    Example:
        >>> round(class_correlation(logits), 3)
        0.981
    """
    p = probabilities(logits)
    k = p.T @ p
    return float(np.trace(k) / (np.sqrt(len(k)) * np.linalg.norm(k)))
