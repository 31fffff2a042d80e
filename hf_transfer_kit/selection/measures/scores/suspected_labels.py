"""Rows whose label the other rows contradict (confident learning)."""

from __future__ import annotations

import numpy as np


def suspected_rows(scores: np.ndarray, classes: np.ndarray, *, most: int = 20) -> list[tuple[int, int, float]]:
    """Rows that, left out, score as high for another class as that class's own rows do, the clearest first.

    After confident learning (Northcutt et al. 2021, JAIR), which asks whether a row's probability of another class
    reaches what is usual among the rows of that class. Here it is a score, and usual is what nine in ten of the class's
    rows reach that are told rightly. Nothing is told of a class with fewer than three rows, nor
    where scores agree with fewer than half of the labels, for then they say more of the features than of the labels.

    Args:
        scores: Of each row for each class, predicted without the row, of shape (N, C).
        classes: Its label, of shape (N,), in [0, C).
        most: How many to tell.

    Returns:
        Row, likelier class, and by how much its score is above the label's.
    """
    if np.mean(scores.argmax(axis=1) == classes) < 0.5:
        return []
    counts = np.bincount(classes, minlength=scores.shape[1])
    own = scores[np.arange(len(classes)), classes]
    likelier = scores.argmax(axis=1)
    thresholds = np.full(scores.shape[1], np.inf)
    for index in np.flatnonzero(counts > 2):
        told = own[(classes == index) & (likelier == index)]
        if len(told):
            thresholds[index] = np.quantile(told, 0.1)
    margin = scores.max(axis=1) - own
    found = (likelier != classes) & (scores.max(axis=1) >= thresholds[likelier]) & (counts[classes] > 2)
    rows = np.flatnonzero(found)
    return [(int(row), int(likelier[row]), float(margin[row])) for row in rows[np.argsort(-margin[rows])][:most]]
