"""Standard error of a score by random halves of the rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def half_sample_error(
    score: Callable[[np.ndarray], float], labels: np.ndarray, *, draws: int = 10, most: int = 1_000, seed: int = 0
) -> float | None:
    """Standard error of ``score`` on all rows, from its spread over subsamples without repetition.

    The ordinary bootstrap repeats rows, and a repeated row is evidence twice, or its own neighbour. The variance over
    subsamples of m of N rows is (N - m)/m times that of the score on all rows, which is made good (Politis, Romano &
    Wolf 1999, chapter 2).

    Args:
        score: Row numbers of shape (m,) -> score.
        labels: Of shape (N,).
        draws: Subsamples, two or more.
        most: Rows of a subsample beyond which it is no longer a half.
        seed: Of the draws.

    Returns:
        The error, or None where no class has two rows to choose from.
    """
    generator = np.random.default_rng(seed)
    by_class = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    share = min(0.5, most / len(labels))
    sizes = [max(1, round(share * len(rows))) for rows in by_class]
    taken = sum(sizes)
    if taken >= len(labels):
        return None
    values = []
    for _ in range(draws):
        drawn = [generator.permutation(rows)[:size] for rows, size in zip(by_class, sizes, strict=True)]
        values.append(score(np.sort(np.concatenate(drawn))))
    return float(np.std(values, ddof=1) * np.sqrt(taken / (len(labels) - taken)))
