"""Soft neighbourhood density: target rows of one class lie close together."""

from __future__ import annotations

import numpy as np

from hf_transfer_kit.adaptation.scores.domain_outputs import entropies, probabilities
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.features.row_blocks import rows_at_once, slices


def soft_neighbourhood_density(logits: np.ndarray, *, temperature: float = 0.05, max_rows: int = 2000) -> float:
    """Mean entropy of each row's similarities to all others, in [0, log(T - 1)]; larger is better (Saito et al. 2021).

    It falls when rows of one class are spread or torn apart, and supposes a network that tells classes apart: one that
    says the same of every row has the largest value there is. Look at ``bnm`` as well.

    f = p / |p|, P_i = softmax over j != i of <f_i, f_j> / temperature, SND = mean_i of -sum_j P_ij log P_ij.

    Args:
        logits: (T, C).
        temperature: Above 0; the paper's 0.05.
        max_rows: At most so many, evenly spread: time grows with the square, memory with the rows. Compare values of
            equal T only.

    Raises:
        SettingsError: When ``temperature`` is not above 0.

    Example:
        >>> round(soft_neighbourhood_density(np.concatenate([logits, logits])), 3)
        0.009
    """
    if not temperature > 0:
        raise SettingsError(f"temperature={temperature!r} is out of range; give a number above 0, such as 0.05.")
    logits = np.asarray(logits)
    if len(logits) > max_rows:
        logits = logits[np.linspace(0, len(logits) - 1, max_rows).round().astype(int)]
    count = len(logits)
    if count < 2:
        return 0.0
    size = rows_at_once(8 * 4 * count, beside=2 * 8 * logits.size, what="the neighbourhood density")
    f = probabilities(logits)
    f /= np.linalg.norm(f, axis=1, keepdims=True)
    total = 0.0
    for place in slices(count, size):
        similarities = f[place] @ f.T / temperature
        similarities[np.arange(len(similarities)), np.arange(place.start, place.stop)] = -np.inf
        total += entropies(probabilities(similarities)).sum()
    return float(total / count)
