"""The part that tells domains apart, and how well it does."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class DomainHead(nn.Sequential):
    """Features to one logit, positive for the source.

    Args:
        width: Number of features, D.
        hidden: Width of each hidden layer; each is followed by ReLU and dropout.
        dropout: In [0, 1).
    """

    def __init__(self, width: int, hidden: Sequence[int], dropout: float = 0.0) -> None:
        layers: list[nn.Module] = []
        for size in hidden:
            layers += [nn.Linear(width, size), nn.ReLU()]
            if dropout:
                layers.append(nn.Dropout(dropout))
            width = size
        super().__init__(*layers, nn.Linear(width, 1))

    def forward(self, features: Tensor) -> Tensor:
        """(N, D) -> (N,)."""
        return super().forward(features).squeeze(-1)


def domain_loss(
    source: Tensor, target: Tensor, source_weights: Tensor | None = None, target_weights: Tensor | None = None
) -> Tensor:
    """Binary cross entropy of telling source rows (1) from target rows (0), each domain counting one half.

    L = (sum_i w_i softplus(-s_i) / sum_i w_i + sum_j v_j softplus(t_j) / sum_j v_j) / 2; with as many rows of both
    and no weights it is the mean over all rows (Ganin et al. 2016, equation 9), log 2 when the head knows nothing.

    Args:
        source: Domain logits of source rows, (S,).
        target: Domain logits of target rows, (T,).
        source_weights: w, (S,), not negative; equal by default.
        target_weights: v, (T,), likewise.

    Returns:
        One element >= 0.
    """
    return (
        _mean(functional.softplus(-source), source_weights) + _mean(functional.softplus(target), target_weights)
    ) / 2


def domain_accuracy(source: Tensor, target: Tensor) -> Tensor:
    """Share of rows whose domain is told right, each domain counting one half: in [0, 1], 0.5 is chance.

    Args:
        source: Domain logits of source rows, (S,).
        target: Domain logits of target rows, (T,).
    """
    return ((source > 0).float().mean() + (target <= 0).float().mean()) / 2


def _mean(values: Tensor, weights: Tensor | None) -> Tensor:
    return values.mean() if weights is None else (weights * values).sum() / weights.sum()


def told_apart(head: nn.Module, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Domain logits of both domains from one call of the head: (S,) and (T,)."""
    logits = head(torch.cat([source, target]))
    return logits[: len(source)], logits[len(source) :]
