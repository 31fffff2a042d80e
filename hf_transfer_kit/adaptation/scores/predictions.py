"""Scores of predictions one by one: right on the source, sure and diverse on the target."""

from __future__ import annotations

import numpy as np

from hf_transfer_kit.adaptation.scores.domain_outputs import entropies, probability_blocks


def source_accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Share of source rows whose class is right, in [0, 1]. Says nothing of the target, and is often hard to beat.

    Args:
        logits: (S, C).
        labels: (S,).

    Example:
        >>> source_accuracy(logits, np.array([0, 1, 2, 1]))
        0.75
    """
    return float(np.mean(np.asarray(logits).argmax(1) == np.asarray(labels)))


def mean_entropy(logits: np.ndarray) -> float:
    """Mean entropy of the target's predictions, in [0, log C]; smaller is better (Morerio et al. 2018).

    A network that gives every row one class has the best value there is: look at ``information`` as well.

    Args:
        logits: (T, C).

    Example:
        >>> round(mean_entropy(logits), 3)
        0.408
    """
    logits = np.asarray(logits)
    found = [entropies(rows).sum() for _, rows in probability_blocks(logits, "the mean entropy")]
    return float(sum(found) / len(logits))


def information(logits: np.ndarray) -> float:
    """Entropy of the mean prediction minus mean entropy, in [0, log C]; larger is better (Musgrave et al. 2022).

    Args:
        logits: (T, C).

    Example:
        >>> round(information(logits), 3)
        0.691
    """
    logits = np.asarray(logits)
    total, unsure = np.zeros(logits.shape[1]), 0.0
    for _, rows in probability_blocks(logits, "the information of predictions"):
        total += rows.sum(0)
        unsure += entropies(rows).sum()
    return float(entropies(total / len(logits)) - unsure / len(logits))
