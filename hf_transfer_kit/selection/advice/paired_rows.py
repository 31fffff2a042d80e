"""Shares of rows that several runs got right, where all were asked the same rows."""

from __future__ import annotations

import numpy as np

_ADDED_ROWS = 2.0


def paired_shares(correct: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of rows that each run got right, and the covariance of these shares: all were asked the same rows.

    Two rows are added, spread alike over all patterns of who is right: with few rows runs that agree on each would
    count as surely equal otherwise (Agresti & Min 2005, who add half a row to each pattern of a pair).

    Args:
        correct: Of shape (runs, rows).

    Returns:
        Of shapes (runs,) and (runs, runs).
    """
    runs, rows = correct.shape
    weight = rows + _ADDED_ROWS
    shares = (correct.sum(1) + _ADDED_ROWS / 2) / weight
    both = (correct.astype(float) @ correct.T.astype(float) + _ADDED_ROWS * (1 + np.eye(runs)) / 4) / weight
    return shares, (both - np.outer(shares, shares)) / weight
