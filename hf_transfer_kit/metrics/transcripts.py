"""Transcripts: what a network trained with connectionist temporal classification spells, and how wrong it is."""

from __future__ import annotations

from collections.abc import Sequence

import datasets
import evaluate


def collapsed(symbols: Sequence[int], blank: int = 0) -> list[int]:
    """The symbols without repetitions and blanks (Graves et al. 2006), those below 0 left out as padding."""
    kept = [symbol for symbol in symbols if symbol >= 0]
    return [symbol for before, symbol in zip([None, *kept], kept, strict=False) if symbol not in (before, blank)]


def edit_distance(first: Sequence, second: Sequence) -> int:
    """Least number of insertions, deletions and substitutions that make one sequence the other (Levenshtein 1966)."""
    row = list(range(len(second) + 1))
    for place, item in enumerate(first, 1):
        before, row[0] = row[0], place
        for column, other in enumerate(second, 1):
            before, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, before + (item != other))
    return row[-1]


def spelled_words(symbols: Sequence[int], space: int) -> list[tuple[int, ...]]:
    """The words of a transcript: what stands between spaces, nothing of which is no word.

    Example:
        >>> spelled_words([3, 1, 2, 1, 1], space=1)
        [(3,), (2,)]
    """
    words: list[list[int]] = [[]]
    for symbol in symbols:
        if symbol == space:
            words.append([])
        else:
            words[-1].append(symbol)
    return [tuple(word) for word in words if word]


class ErrorRate(evaluate.Metric):
    """Edits by symbol of the references: ``error_rate`` (>= 0, lower is better); ``accuracy``: the share without any.

    Predictions and references are lists of symbol indices.

    Example:
        >>> ErrorRate().compute(predictions=[[1, 2, 3]], references=[[1, 3]])
        {'error_rate': 0.5, 'accuracy': 0.0}
    """

    def _info(self) -> evaluate.MetricInfo:
        symbols = datasets.Sequence(datasets.Value("int64"))
        return evaluate.MetricInfo(
            description="Edits by symbol of the references.",
            citation="",
            inputs_description="",
            features=datasets.Features({"predictions": symbols, "references": symbols}),
        )

    def _compute(self, predictions: Sequence[Sequence[int]], references: Sequence[Sequence[int]]) -> dict[str, float]:
        edits = [edit_distance(*pair) for pair in zip(predictions, references, strict=True)]
        return {
            "error_rate": sum(edits) / max(1, sum(map(len, references))),
            "accuracy": sum(edit == 0 for edit in edits) / len(edits),
        }
