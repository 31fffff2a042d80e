"""Scores of all target predictions together: the matrix of probabilities, rows by classes."""

from __future__ import annotations

import numpy as np

from hf_transfer_kit.adaptation.scores.domain_outputs import probability_blocks
from hf_transfer_kit.features.row_sums import products, triangular_root


def nuclear_norm(logits: np.ndarray) -> float:
    """Sum of the singular values of P over its upper bound sqrt(T min(T, C)), in (0, 1]; larger is better.

    1 when predictions are sure and classes equally frequent: batch nuclear norm (Cui et al. 2020) as a score.

    Args:
        logits: (T, C).

    Example:
        >>> round(nuclear_norm(logits), 3)
        0.88
    """
    logits = np.asarray(logits)
    root = triangular_root(probability_blocks(logits, "the nuclear norm"), logits.shape[1])  # singular values as of P
    return float(np.linalg.svd(root, compute_uv=False).sum() / np.sqrt(len(logits) * min(logits.shape)))


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
    logits = np.asarray(logits)
    k = products(probability_blocks(logits, "the correlation of classes"), logits.shape[1])
    return float(np.trace(k) / (np.sqrt(len(k)) * np.linalg.norm(k)))
