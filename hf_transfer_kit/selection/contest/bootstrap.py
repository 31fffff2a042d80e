"""Confidence intervals for an accuracy, and for the difference of two on the same test rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hf_transfer_kit.errors import SettingsError


def paired_bootstrap(
    first: np.ndarray, second: np.ndarray, *, confidence: float = 0.95, draws: int = 10_000, seed: int = 0
) -> tuple[float, float, float]:
    """Percentile bootstrap of ``mean(first) - mean(second)`` over paired rows (Efron & Tibshirani 1993, chapter 13).

    Rows are drawn with replacement, the same rows for both sides. Where each side was run with several seeds, its
    runs are drawn with replacement too, so that the interval covers the spread between seeds as far as they show it.

    Args:
        first: Correctness (0 or 1) of shape (runs, rows) or (rows,).
        second: The same for the other side; the number of runs may differ.
        confidence: Level of the interval, in (0, 1).
        draws: Number of bootstrap draws.
        seed: Seed of the draws.

    Returns:
        The observed difference and the lower and upper end of its interval.

    Raises:
        SettingsError: When the rows differ in number or there are none.
    """
    first, second = np.atleast_2d(np.asarray(first, dtype=float)), np.atleast_2d(np.asarray(second, dtype=float))
    if first.shape[1] != second.shape[1] or not first.size:
        raise SettingsError(
            f"The two sides have {first.shape[1]} and {second.shape[1]} test rows; a paired comparison needs the same "
            "rows on both sides, at least one."
        )
    generator = np.random.default_rng(seed)
    rows = first.shape[1]
    differences = np.empty(draws)
    for draw in range(draws):
        counts = np.bincount(generator.integers(rows, size=rows), minlength=rows) / rows
        sides = [side[generator.integers(len(side), size=len(side))].mean(axis=0) @ counts for side in (first, second)]
        differences[draw] = sides[0] - sides[1]
    tail = (1 - confidence) / 2
    low, high = np.quantile(differences, [tail, 1 - tail])
    return float(first.mean() - second.mean()), float(low), float(high)


def accuracy_interval(correct: np.ndarray, *, confidence: float = 0.95, draws: int = 2_000) -> tuple[float, float]:
    """Interval of one accuracy over test rows and seeds: the paired bootstrap against a side that is never right.

    Where every row was right, or none, resampling says nothing of what other rows would give; there the open end is the
    exact one of as many rows (Clopper & Pearson 1934): ``tail ** (1 / rows)``, or 1 less it.

    Args:
        correct: Correctness (0 or 1) of shape (runs, rows) or (rows,).
        confidence: Level of the interval, in (0, 1).
        draws: Number of bootstrap draws.

    Returns:
        Its lower and upper end, in [0, 1].

    Raises:
        SettingsError: When there are no rows.
    """
    correct = np.atleast_2d(np.asarray(correct, dtype=float))
    _, low, high = paired_bootstrap(correct, np.zeros_like(correct[:1]), confidence=confidence, draws=draws)
    bound = ((1 - confidence) / 2) ** (1 / correct.shape[1])
    if correct.all():
        return bound, 1.0
    return (low, min(high, 1.0)) if correct.any() else (0.0, 1 - bound)


def runs_interval(true: Sequence[np.ndarray], predicted: Sequence[np.ndarray]) -> tuple[float, float] | None:
    """The 95 % interval of test accuracy over the runs of one strategy; None where no row has a label.

    Args:
        true: Class of each test row, of shape (rows,), one entry a run.
        predicted: The run's prediction for it, likewise.
    """
    correct = np.stack(predicted) == np.stack(true)
    return accuracy_interval(correct) if correct.size else None
