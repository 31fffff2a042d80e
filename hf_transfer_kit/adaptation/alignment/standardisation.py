"""Each domain's features to mean 0 and variance 1: the cheapest alignment, and hard to beat."""

from __future__ import annotations

import numpy as np

from hf_transfer_kit.adaptation.alignment.rows import both_domains
from hf_transfer_kit.features.probe_rows import Features
from hf_transfer_kit.features.row_sums import block_size, means_and_spreads


def shift_and_scale(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each feature, (D,); of constant features (up to rounding) 1 for the latter.

    Args:
        rows: (N, D).
    """
    size = block_size(rows, "standardising", matrices=0)
    mean, deviation = means_and_spreads(rows, size)
    # What is left of a constant feature after rounding must not be blown up to variance 1.
    constant = deviation <= 1e-10 * np.maximum(rows.max(0), -rows.min(0))
    return mean, np.where(constant, 1.0, deviation)


def standardise(rows: np.ndarray) -> np.ndarray:
    """(x - mean) / standard deviation, feature by feature, written into the rows; constant features become 0.

    Args:
        rows: (N, D), float64.

    Returns:
        The rows.
    """
    mean, deviation = shift_and_scale(rows)
    rows -= mean
    rows /= deviation
    return rows


def align_standardised(source: Features, target: Features) -> tuple[np.ndarray, np.ndarray]:
    """Standardises each domain with its own mean and variance, as BatchNorm re-estimated on the target would.

    Args:
        source: (S, D).
        target: (T, D).

    Returns:
        Both domains, (S, D) and (T, D), float64.

    Raises:
        DataError: When the domains do not fit each other.

    Example:
        >>> source, aligned = align_standardised(features, target_features)
        >>> bool(np.allclose(source, aligned))
        True
    """
    source, target = both_domains(source, target)
    return standardise(source), standardise(target)
