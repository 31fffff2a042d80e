"""LEEP and NCE: what the classes a network was trained for say about the new ones."""

from __future__ import annotations

import numpy as np


def leep(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean over rows of log sum_z P(y_i | z) theta_i(z), the log expected empirical prediction (Nguyen et al. 2020).

    P(y | z) comes from the joint P(y, z) = 1/N sum of theta_i(z) over the rows of class y. Higher is better.

    Args:
        probabilities: theta, of each source class for each row, of shape (N, Z), rows summing to 1.
        labels: Of shape (N,).

    Returns:
        At most 0.

    Example:
        >>> probabilities = np.eye(3)[labels] * 0.97 + 0.01
        >>> leep(probabilities, labels) <= 0
        True
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    classes, index = np.unique(labels, return_inverse=True)
    joint = np.zeros((len(classes), probabilities.shape[1]))
    np.add.at(joint, index, probabilities)
    # A source class that no row has any probability of says nothing.
    conditional = joint / np.maximum(joint.sum(0), np.finfo(np.float64).tiny)  # P(y | z), (C, Z)
    expected = np.einsum("nz,nz->n", conditional[index], probabilities)
    return float(np.mean(np.log(np.maximum(expected, np.finfo(np.float64).tiny))))


def negative_conditional_entropy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """-H(Y | Z) in nats, Z being the source class each row is taken for (Tran et al. 2019). Higher is better.

    Args:
        probabilities: As in ``leep``.
        labels: Of shape (N,).

    Returns:
        At most 0.

    Example:
        >>> abs(negative_conditional_entropy(np.eye(3)[labels], labels))
        0.0
    """
    source = np.argmax(probabilities, axis=1)
    classes, index = np.unique(labels, return_inverse=True)
    counts = np.zeros((len(classes), np.shape(probabilities)[1]))
    np.add.at(counts, (index, source), 1)
    joint = counts / len(labels)
    conditional = counts / np.maximum(counts.sum(0), 1)
    return float(np.sum(joint * np.log(np.where(conditional > 0, conditional, 1))))
