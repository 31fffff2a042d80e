"""What short runs add to what was expected: two uncertain accounts of the same strategies, each by its precision."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hf_transfer_kit.selection.advice.outlook import Expectation


def joined(
    expected: Expectation, tried: Sequence[str], shares: np.ndarray, rows_error: np.ndarray, *, trial_error: float
) -> Expectation:
    """Expectation and trials as one account: a normal distribution conditioned on what was seen (Kalman 1960).

    Only differences between the trials count, so that how hard the validation rows are does not. Strategies that were
    not tried move with those that they go with in the measured cases.

    Args:
        expected: Before the trials.
        tried: Two strategies or more of it; of fewer nothing is learned.
        shares: Of validation rows that each trial got right, of shape (trials,).
        rows_error: Covariance of ``shares`` over draws of these rows, of shape (trials, trials).
        trial_error: Standard deviation of a short run's accuracy around what the strategy reaches in full, rows aside.
    """
    if len(tried) < 2:
        return expected
    noise = rows_error + trial_error**2 * np.eye(len(tried))
    contrasts = np.hstack([-np.ones((len(tried) - 1, 1)), np.eye(len(tried) - 1)])  # each less the first
    chosen = np.array([[name == other for other in expected.strategies] for name in tried], dtype=float)
    seen = contrasts @ chosen  # (trials - 1, S)
    unsure = seen @ expected.covariance @ seen.T + contrasts @ noise @ contrasts.T
    gain = np.linalg.solve(unsure, seen @ expected.covariance).T  # (S, trials - 1)
    mean = expected.mean + gain @ (contrasts @ shares - seen @ expected.mean)
    covariance = expected.covariance - gain @ seen @ expected.covariance
    return Expectation(expected.strategies, mean, (covariance + covariance.T) / 2)
