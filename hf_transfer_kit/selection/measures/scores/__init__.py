"""Transferability scores: pure functions, higher is better. A new one is a file and a line here."""

from collections.abc import Callable, Mapping

import numpy as np

from hf_transfer_kit.selection.measures.scores.h_score import h_score
from hf_transfer_kit.selection.measures.scores.log_me import log_me
from hf_transfer_kit.selection.measures.scores.probes import linear_accuracy, neighbour_accuracy
from hf_transfer_kit.selection.measures.scores.source_classes import leep, negative_conditional_entropy
from hf_transfer_kit.selection.measures.scores.trans_rate import trans_rate

FEATURE_SCORES: Mapping[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "log_me": log_me,
    "h_score": h_score,
    "trans_rate": trans_rate,
    "knn_accuracy": neighbour_accuracy,
    "probe_accuracy": linear_accuracy,
}
"""Name -> score of features (N, D) and labels (N,)."""

SOURCE_CLASS_SCORES: Mapping[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "leep": leep,
    "nce": negative_conditional_entropy,
}
"""Name -> score of the source classes' probabilities (N, Z) and labels (N,)."""

__all__ = [
    "FEATURE_SCORES",
    "SOURCE_CLASS_SCORES",
    "h_score",
    "leep",
    "linear_accuracy",
    "log_me",
    "negative_conditional_entropy",
    "neighbour_accuracy",
    "trans_rate",
]
