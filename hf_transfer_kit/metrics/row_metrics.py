"""Metrics of fixed predictions as functions of how often each row is drawn: what a bootstrap over rows asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hf_transfer_kit.metrics.computing import IGNORED
from hf_transfer_kit.metrics.entities import entity_spans
from hf_transfer_kit.metrics.transcripts import collapsed, edit_distance, spelled_words


@dataclass(frozen=True, eq=False)
class RowMetric:
    """A metric of what one run said of some rows.

    Args:
        rows: Number of rows.
        value: Weights of shape (rows,), at least 0, how often each row counts, to the metric; of ones it is the metric
            itself, of whole numbers that of the rows repeated. NaN where no known row has a weight.
        at_once: The same of weights of shape (draws, rows), as (draws,), where it is had more quickly.
    """

    rows: int
    value: Callable[[np.ndarray], float]
    at_once: Callable[[np.ndarray], np.ndarray] | None = None

    def values(self, weights: np.ndarray) -> np.ndarray:
        """The metric of each row of weights of shape (draws, rows), as (draws,)."""
        return np.array([self.value(row) for row in weights]) if self.at_once is None else self.at_once(weights)

    @property
    def observed(self) -> float:
        """The metric itself."""
        return self.value(np.ones(self.rows))


def mean_metric(values: np.ndarray) -> RowMetric:
    """The mean of a value of each row, (rows,); what is NaN does not count.

    Example:
        >>> mean_metric(np.array([1.0, 0.0, np.nan])).observed
        0.5
    """
    values = np.asarray(values, dtype=float)
    known = ~np.isnan(values)
    filled = np.where(known, values, 0.0)
    return _shared(filled, known.astype(float))


def class_metric(name: str, said: np.ndarray, true: np.ndarray) -> RowMetric:
    """``accuracy``, ``macro_f1`` or ``balanced_accuracy`` of classes.

    Args:
        name: Which.
        said: Predicted classes of shape (rows,) or, of words, (rows, T), which are drawn row by row.
        true: The same of true ones; -100 does not count.
    """
    said, true = np.asarray(said), np.asarray(true)
    counted = true != IGNORED
    row = np.nonzero(counted)[0]
    said, true = said[counted], true[counted]
    if name == "accuracy":  # what a race asks for ten thousand times needs no table of classes
        right = np.bincount(row, said == true, len(counted))
        there = np.bincount(row, minlength=len(counted)).astype(float)
        return _shared(right, there)
    names, places = np.unique(np.concatenate([said, true]), return_inverse=True)
    said, true = places[: len(row)], places[len(row) :]
    by_pair = {"macro_f1": _macro_f1, "balanced_accuracy": _balanced_accuracy}[name]

    def value(weights: np.ndarray) -> float:
        pairs = np.bincount(true * len(names) + said, weights[row], len(names) ** 2)
        return by_pair(pairs.reshape(len(names), len(names)))

    return RowMetric(len(counted), value)


def counts_metric(name: str, right: np.ndarray, said: np.ndarray, there: np.ndarray) -> RowMetric:
    """``f1``, ``precision`` or ``recall`` of things found.

    Args:
        name: Which.
        right: How many of each row were found rightly, (rows,).
        said: How many were found.
        there: How many there are.
    """
    upper, lower = {"f1": (2 * right, said + there), "precision": (right, said), "recall": (right, there)}[name]
    upper, lower = np.asarray(upper, dtype=float), np.asarray(lower, dtype=float)
    return _shared(upper, lower, of_nothing=0.0)


def entity_metric(name: str, said: Sequence[Sequence[str]], true: Sequence[Sequence[str]]) -> RowMetric:
    """The same of entities in sentences tagged ``B-x``, ``I-x`` or ``O``."""
    spans = [(entity_spans(a), entity_spans(b)) for a, b in zip(said, true, strict=True)]
    return counts_metric(name, *np.array([(len(a & b), len(a), len(b)) for a, b in spans], dtype=float).T)


def transcript_metric(
    name: str, paths: np.ndarray, true: np.ndarray, blank: int, space: int | None = None
) -> RowMetric:
    """What paths spell against transcripts.

    Args:
        name: ``error_rate`` (edits by symbol), ``word_error_rate`` (edits by word) or ``accuracy`` (of whole ones).
        paths: Of shape (rows, T), padded.
        true: Transcripts of shape (rows, L), padded.
        blank: Index of the blank.
        space: Index of the symbol between words, for ``word_error_rate``.
    """
    said: Sequence[Sequence] = [collapsed(path, blank) for path in np.asarray(paths).tolist()]
    there: Sequence[Sequence] = [[symbol for symbol in row if symbol >= 0] for row in np.asarray(true).tolist()]
    if name == "word_error_rate":
        assert space is not None
        said, there = ([spelled_words(symbols, space) for symbols in side] for side in (said, there))
    edits = np.array([edit_distance(*pair) for pair in zip(said, there, strict=True)], dtype=float)
    if name == "accuracy":
        return mean_metric(edits == 0)
    lengths = np.array([len(symbols) for symbols in there], dtype=float)
    return _shared(edits, lengths)


def number_metric(name: str, said: np.ndarray, true: np.ndarray) -> RowMetric:
    """``spearman``, ``pearson`` or ``mse`` of numbers (rows,); rows whose true one is NaN do not count."""
    said, true = np.asarray(said, dtype=float), np.asarray(true, dtype=float)
    rows = np.flatnonzero(~np.isnan(true))
    known_said, known_true = said[rows], true[rows]
    if name == "mse":
        return mean_metric((said - true) ** 2)
    sides = (known_said, known_true)
    if name == "spearman":
        groups = [np.unique(side, return_inverse=True)[1] for side in sides]

    def value(weights: np.ndarray) -> float:
        weights = weights[rows]
        if not weights.any():
            return np.nan
        one, other = (_middle_ranks(group, weights) for group in groups) if name == "spearman" else sides
        return _correlation(one, other, weights)

    def at_once(weights: np.ndarray) -> np.ndarray:
        if not len(rows):
            return np.full(len(weights), np.nan)
        weights = weights[:, rows]
        one, other = (_middle_ranks_at_once(group, weights) for group in groups) if name == "spearman" else sides
        return np.where(weights.any(axis=1), _correlations(one, other, weights), np.nan)

    return RowMetric(len(said), value, at_once)


def mean_of(metrics: Sequence[RowMetric]) -> RowMetric:
    """Their mean on the same rows; those that are not known (NaN) left out."""

    def value(weights: np.ndarray) -> float:
        values = [metric.value(weights) for metric in metrics]
        known = [one for one in values if not np.isnan(one)]
        return float(np.mean(known)) if known else np.nan

    def at_once(weights: np.ndarray) -> np.ndarray:
        values = np.stack([metric.values(weights) for metric in metrics])
        known = (~np.isnan(values)).sum(axis=0)
        return np.divide(np.nansum(values, axis=0), known, out=np.full(len(weights), np.nan), where=known > 0)

    return RowMetric(metrics[0].rows, value, at_once)


def _balanced_accuracy(pairs: np.ndarray) -> float:
    there = pairs.sum(axis=1)
    return float((np.diag(pairs)[there > 0] / there[there > 0]).mean()) if there.any() else np.nan


def _macro_f1(pairs: np.ndarray) -> float:
    named = pairs.sum(axis=0) + pairs.sum(axis=1)
    return float((2 * np.diag(pairs)[named > 0] / named[named > 0]).mean()) if named.any() else np.nan


def _middle_ranks(groups: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Ranks of rows that count several times, equal values in the middle of theirs; groups are in their order."""
    sizes = np.bincount(groups, weights)
    return (np.cumsum(sizes) - (sizes - 1) / 2)[groups]


def _middle_ranks_at_once(groups: np.ndarray, weights: np.ndarray) -> np.ndarray:
    order = np.argsort(groups, kind="stable")
    begins = np.flatnonzero(np.diff(groups[order], prepend=-1))
    sizes = np.add.reduceat(weights[:, order], begins, axis=1)
    return (np.cumsum(sizes, axis=1) - (sizes - 1) / 2)[:, groups]


def _correlation(first: np.ndarray, second: np.ndarray, weights: np.ndarray) -> float:
    drawn = weights > 0
    if any((side[drawn] == side[drawn][:1]).all() for side in (first, second)):
        return 0.0  # nothing is told apart
    total = weights.sum()
    first, second = (side - (side * weights).sum() / total for side in (first, second))
    return float(weights @ (first * second) / np.sqrt((weights @ first**2) * (weights @ second**2)))


def _correlations(first: np.ndarray, second: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """``_correlation`` of each row of weights of shape (draws, rows); the sides are (rows,) or (draws, rows)."""
    drawn = weights > 0
    told = np.ones(len(weights), dtype=bool)
    for side in (first, second):
        least = np.where(drawn, side, np.inf).min(axis=1, initial=np.inf)
        told &= np.where(drawn, side, -np.inf).max(axis=1, initial=-np.inf) > least
    total = np.maximum(weights.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    first, second = (side - (side * weights).sum(axis=1, keepdims=True) / total for side in (first, second))
    weighted = weights * first
    spreads = np.sqrt((weighted * first).sum(axis=1) * (weights * second * second).sum(axis=1))
    return np.divide((weighted * second).sum(axis=1), spreads, out=np.zeros(len(weights)), where=told)


def _shared(upper: np.ndarray, lower: np.ndarray, of_nothing: float = np.nan) -> RowMetric:
    """The weighted sum of ``upper`` over that of ``lower``, both (rows,)."""

    def value(weights: np.ndarray) -> float:
        whole = weights @ lower
        return float(weights @ upper / whole) if whole else of_nothing

    def at_once(weights: np.ndarray) -> np.ndarray:
        whole = weights @ lower
        return np.divide(weights @ upper, whole, out=np.full(len(weights), of_nothing), where=whole != 0)

    return RowMetric(len(upper), value, at_once)
