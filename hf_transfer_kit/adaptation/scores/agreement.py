"""How well a score chooses, told with target labels after all choices were made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hf_transfer_kit.errors import DataError


@dataclass(frozen=True)
class Agreement:
    """What choosing by a score would have given.

    Args:
        chosen: Index of the checkpoint that the score likes best; the first among equals.
        accuracy: Target accuracy of that checkpoint, in [0, 1].
        best_accuracy: Of the checkpoint that labels like best.
        rank_correlation: Spearman's, of score and accuracy, in [-1, 1], positive when the score is right; 0 where all
            scores or all accuracies are equal.
    """

    chosen: int
    accuracy: float
    best_accuracy: float
    rank_correlation: float

    @property
    def regret(self) -> float:
        """Accuracy lost by choosing without labels, in [0, 1]."""
        return self.best_accuracy - self.accuracy


def agreement(scores: Sequence[float], accuracies: Sequence[float], *, larger_is_better: bool) -> Agreement:
    """Compares a score with target accuracy over checkpoints, or over settings.

    Args:
        scores: One a checkpoint.
        accuracies: Target accuracy of each, in [0, 1].
        larger_is_better: Whether the score rises with quality.

    Raises:
        DataError: When there are none, or not as many of both.

    Example:
        >>> found = agreement([0.2, 0.9, 0.5], [0.61, 0.80, 0.72], larger_is_better=True)
        >>> found.chosen, found.accuracy, found.rank_correlation
        (1, 0.8, 1.0)
    """
    if len(scores) != len(accuracies) or not len(scores):
        raise DataError(f"There are {len(scores)} scores and {len(accuracies)} accuracies; give one of each, or more.")
    signed = np.asarray(scores, dtype=np.float64) * (1 if larger_is_better else -1)
    chosen = int(np.argmax(signed))
    ranks = [_ranks(signed), _ranks(np.asarray(accuracies, dtype=np.float64))]
    flat = any(len(np.unique(rank)) < 2 for rank in ranks)
    correlation = 0.0 if flat else float(np.corrcoef(ranks[0], ranks[1])[0, 1])
    return Agreement(chosen, float(accuracies[chosen]), float(max(accuracies)), correlation)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0, equal values sharing their mean rank."""
    return np.array([(np.sum(values < value) + np.sum(values <= value) - 1) / 2 for value in values])
