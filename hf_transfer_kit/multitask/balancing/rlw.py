"""Random loss weighting: weights drawn anew in every step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from hf_transfer_kit.multitask.balancing.balancer import Balancer
from hf_transfer_kit.multitask.balancing.draws import Draws


def random_weights(size: int, seed: int) -> Tensor:
    """softmax(z) with z standard normal, (size,) of sum 1."""
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)).softmax(0)


class RLW(Balancer):
    """sum_t w_t L_t with w = softmax(z), z ~ N(0, 1) drawn in every step (Lin et al. 2022, TMLR).

    Weights sum to 1 over the tasks in the batch. All processes draw the same.

    Args:
        tasks: Names of all tasks.
        seed: Of the weights, at least 0; 0 by default.

    Raises:
        SettingsError: When the seed is no such number.
    """

    name: ClassVar[str] = "rlw"
    summary: ClassVar[str] = "random weights, drawn anew in every step"

    def __init__(self, tasks: Sequence[str], *, seed: int = 0) -> None:
        super().__init__(tasks)
        self.draws = Draws(self.name, seed)

    def combine(self, names: list[str], losses: list[Tensor], shared: Tensor | Sequence[Tensor] | None) -> Tensor:
        """sum_t w_t L_t."""
        values = torch.stack(losses)  # (K,)
        weights = random_weights(len(names), self.draws.next_seed()).to(values)
        self.keep(names, weights)
        return (weights * values).sum()
