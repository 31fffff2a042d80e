"""Confidence intervals for a metric, and for the difference of two on the same test rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.metrics import RowMetric, mean_metric

Runs = np.ndarray | Sequence[RowMetric]
"""Correctness (0 or 1) of shape (runs, rows) or (rows,), or each run's metric."""

_CELLS = 1_000_000  # weights held at a time


class Pair(NamedTuple):
    """Two sides judged on the same rows, each by its runs; their numbers may differ."""

    first: Runs
    second: Runs


def paired_bootstrap(
    first: Runs, second: Runs, *, confidence: float = 0.95, draws: int = 10_000, seed: int = 0
) -> tuple[float, float, float]:
    """``pooled_bootstrap`` of one pair."""
    return pooled_bootstrap([Pair(first, second)], confidence=confidence, draws=draws, seed=seed)


def pooled_bootstrap(
    pairs: Sequence[Pair], *, draw_pairs: bool = False, confidence: float = 0.95, draws: int = 10_000, seed: int = 0
) -> tuple[float, float, float]:
    """Percentile bootstrap of a metric of the first side less that of the second (Efron & Tibshirani 1993, chapter 13).

    Rows are drawn with replacement, the same rows for both sides, and the metric itself is computed of them. Where a
    side was run with several seeds, its runs are drawn with replacement too, so that the interval covers the spread
    between seeds as far as they show it. Of several pairs, each on rows of its own, the mean is taken.

    Args:
        pairs: At least one.
        draw_pairs: Whether the pairs are a sample themselves, as splits of classes are, and drawn with replacement.
        confidence: Level of the interval, in (0, 1).
        draws: Number of bootstrap draws.
        seed: Seed of the draws.

    Returns:
        The observed difference and the lower and upper end of its interval.

    Raises:
        SettingsError: When the rows of a pair differ in number or there are none.
    """
    sides = [(_metrics(pair.first), _metrics(pair.second)) for pair in pairs]
    for first, second in sides:
        if len({run.rows for run in (*first, *second)}) != 1 or not first[0].rows:
            raise SettingsError(
                f"The two sides have {first[0].rows} and {second[0].rows} test rows; a paired comparison needs the "
                "same rows on both sides, at least one."
            )
    generator = np.random.default_rng(seed)
    block = max(1, _CELLS // sum(first[0].rows for first, _ in sides))
    blocks = [min(block, draws - begun) for begun in range(0, draws, block)]
    differences = np.concatenate([_differences(sides, count, draw_pairs, generator) for count in blocks])
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(differences, [tail, 1 - tail])
    observed = np.mean([_mean(first) - _mean(second) for first, second in sides])
    return float(observed), float(low), float(high)


def _metrics(runs: Runs) -> Sequence[RowMetric]:
    return [mean_metric(run) for run in np.atleast_2d(runs)] if isinstance(runs, np.ndarray) else runs


def _mean(runs: Sequence[RowMetric]) -> float:
    return float(np.mean([run.observed for run in runs]))


def _differences(
    sides: Sequence[tuple[Sequence[RowMetric], Sequence[RowMetric]]],
    draws: int,
    draw_pairs: bool,
    generator: np.random.Generator,
) -> np.ndarray:
    """The mean difference of each of some draws, (draws,); what is drawn is drawn one after the other."""
    if len(sides) == 1 and not draw_pairs and all(len(side) == 1 for side in sides[0]):
        (first, second), rows = sides[0], sides[0][0][0].rows
        drawn = generator.integers(rows, size=(draws, rows)) + rows * np.arange(draws)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=draws * rows).reshape(draws, rows).astype(float)
        return _side(first, counts) - _side(second, counts)
    found = [_Drawn([], [], []) for _ in sides]
    order = []
    for _ in range(draws):
        for place in generator.integers(len(sides), size=len(sides)) if draw_pairs else range(len(sides)):
            order.append((place, len(found[place].rows)))
            first, second = sides[place]
            rows = first[0].rows
            found[place].rows.append(np.bincount(generator.integers(rows, size=rows), minlength=rows))
            for times, side in ((found[place].first, first), (found[place].second, second)):
                if len(side) > 1:
                    times.append(np.bincount(generator.integers(len(side), size=len(side)), minlength=len(side)))
    values = []
    for (first, second), each in zip(sides, found, strict=True):
        counts = np.array(each.rows, dtype=float).reshape(-1, first[0].rows)
        values.append(_side(first, counts, each.first) - _side(second, counts, each.second))
    return np.array([values[place][at] for place, at in order]).reshape(draws, len(sides)).mean(axis=1)


class _Drawn(NamedTuple):
    """Of one pair, how often each row was drawn, and each run of a side that has several; an entry a draw."""

    rows: list[np.ndarray]
    first: list[np.ndarray]
    second: list[np.ndarray]


def _side(runs: Sequence[RowMetric], counts: np.ndarray, times: Sequence[np.ndarray] = ()) -> np.ndarray:
    """The mean metric of the runs that were drawn, (draws,)."""
    values = np.stack([run.values(counts) for run in runs], axis=1)
    if len(runs) == 1:
        return values[:, 0]
    drawn = np.array(times).reshape(values.shape)
    return np.where(drawn > 0, drawn * values, 0.0).sum(axis=1) / len(runs)


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


def metric_interval(
    runs: Sequence[RowMetric], *, confidence: float = 0.95, draws: int = 2_000
) -> tuple[float, float]:  # fmt: skip
    """The same of any metric, over test rows and runs; arguments as in ``accuracy_interval``."""
    _, low, high = paired_bootstrap(runs, np.zeros(runs[0].rows), confidence=confidence, draws=draws)
    return low, high


def runs_interval(true: Sequence[np.ndarray], predicted: Sequence[np.ndarray]) -> tuple[float, float] | None:
    """The 95 % interval of test accuracy over the runs of one strategy; None where no row has a label.

    Args:
        true: Class of each test row, of shape (rows,), one entry a run.
        predicted: The run's prediction for it, likewise.
    """
    correct = np.stack(predicted) == np.stack(true)
    return accuracy_interval(correct) if correct.size else None
