"""Entropy of each row of probabilities, and how much a row counts for it."""

from __future__ import annotations

import torch
from torch import Tensor


def row_entropy(probabilities: Tensor) -> Tensor:
    """H_i = -sum_c p_ic log p_ic, with 0 log 0 = 0.

    Args:
        probabilities: p, (N, C), not negative.

    Returns:
        (N,), in [0, log C] where rows sum to 1.
    """
    # Clamped inside the logarithm alone: the product is 0 where p is, and its gradient is finite.
    tiny = 1e-8 if probabilities.dtype.itemsize >= 4 else 1e-4
    return -(probabilities * probabilities.clamp_min(tiny).log()).sum(-1)


def certainty_weights(probabilities: Tensor) -> Tensor:
    """w = 1 + exp(-H(g)): rows whose class is clear count up to twice (Long et al. 2018, section 4.2).

    Args:
        probabilities: g, (N, C).

    Returns:
        (N,), in (1, 2].
    """
    return 1 + torch.exp(-row_entropy(probabilities))
