"""Uncertainty weighting: each task's noise is learnt, and noisy tasks count less."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from hf_transfer_kit.multitask.balancing.balancer import Balancer


class Uncertainty(Balancer):
    """sum_t exp(-s_t)/2 * L_t + s_t/2 with learnt log variances s_t (Kendall et al. 2018, CVPR).

    The s_t are parameters: they learn when the balancer is a part of the model before the optimizer is made. Give them
    a parameter group of their own, without weight decay, where the network's rate is small: at 5e-5 they hardly move.
    Terms of tasks that a batch lacks are left out.

    Args:
        tasks: Names of all tasks.

    Attributes:
        log_variances: s, (T,), zeros at the start.
    """

    name: ClassVar[str] = "uncertainty"
    summary: ClassVar[str] = "learnt log variances, one a task"

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__(tasks)
        self.log_variances = nn.Parameter(torch.zeros(len(self.tasks)))

    def combine(self, names: list[str], losses: list[Tensor], shared: Tensor | Sequence[Tensor] | None) -> Tensor:
        """sum_t exp(-s_t)/2 * L_t + s_t/2."""
        s = self.log_variances[self.positions(names)]  # (K,)
        weights = 0.5 * (-s).exp()
        self.keep(names, weights)
        return (weights * torch.stack(losses) + 0.5 * s).sum()
