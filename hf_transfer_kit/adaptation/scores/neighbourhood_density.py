"""Soft neighbourhood density: target rows of one class lie close together."""

from __future__ import annotations

import numpy as np

from hf_transfer_kit.adaptation.scores.domain_outputs import entropies, probabilities
from hf_transfer_kit.errors import SettingsError


def soft_neighbourhood_density(logits: np.ndarray, *, temperature: float = 0.05, max_rows: int = 2000) -> float:
    """Mean entropy of each row's similarities to all others, in [0, log(T - 1)]; larger is better (Saito et al. 2021).

    It falls when rows of one class are spread or torn apart, and supposes a network that tells classes apart: one that
    says the same of every row has the largest value there is. Look at ``bnm`` as well.

    f = p / |p|, P_i = softmax over j != i of <f_i, f_j> / temperature, SND = mean_i of -sum_j P_ij log P_ij.

    Args:
        logits: (T, C).
        temperature: Above 0; the paper's 0.05.
        max_rows: At most so many, evenly spread: the cost grows with the square. Compare values of equal T only.

    Raises:
        SettingsError: When ``temperature`` is not above 0.

    Example:
        >>> round(soft_neighbourhood_density(np.concatenate([logits, logits])), 3)
        0.009
    """
    if not temperature > 0:
        raise SettingsError(f"temperature={temperature!r} is out of range; give a number above 0, such as 0.05.")
    p = probabilities(logits)
    if len(p) > max_rows:
        p = p[np.linspace(0, len(p) - 1, max_rows).round().astype(int)]
    if len(p) < 2:
        return 0.0
    f = p / np.linalg.norm(p, axis=1, keepdims=True)
    similarities = f @ f.T / temperature
    np.fill_diagonal(similarities, -np.inf)
    return float(entropies(probabilities(similarities)).mean())
