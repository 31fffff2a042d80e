"""LEEP and NCE: what the classes a network was trained for say about the new ones."""

from __future__ import annotations

import numpy as np

from hf_transfer_kit.features.row_blocks import row_blocks, rows_at_once, slices


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
    probabilities = np.asarray(probabilities)
    classes, index = np.unique(labels, return_inverse=True)
    size = _block_size(probabilities, len(classes), "LEEP")
    joint = np.zeros((len(classes), probabilities.shape[1]))
    for place, block in row_blocks(probabilities, size):
        np.add.at(joint, index[place], block)
    # A source class that no row has any probability of says nothing.
    joint /= np.maximum(joint.sum(0), np.finfo(np.float64).tiny)  # P(y | z), (C, Z)
    total = 0.0
    for place, block in row_blocks(probabilities, size):
        expected = np.einsum("nz,nz->n", joint[index[place]], block)
        total += float(np.log(np.maximum(expected, np.finfo(np.float64).tiny)).sum())
    return total / len(probabilities)


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
    probabilities = np.asarray(probabilities)
    classes, index = np.unique(labels, return_inverse=True)
    counts = np.zeros((len(classes), probabilities.shape[1]))
    for place in slices(len(probabilities), _block_size(probabilities, len(classes), "NCE")):
        np.add.at(counts, (index[place], np.argmax(probabilities[place], axis=1)), 1)
    joint = counts / len(labels)
    conditional = counts / np.maximum(counts.sum(0), 1)
    return float(np.sum(joint * np.log(np.where(conditional > 0, conditional, 1))))


def _block_size(probabilities: np.ndarray, classes: int, what: str) -> int:
    sources = probabilities.shape[1]
    return rows_at_once(24 * sources, beside=8 * 4 * classes * sources, what=what)
