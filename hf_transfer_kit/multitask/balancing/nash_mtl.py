"""The Nash bargaining solution between tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from hf_transfer_kit.multitask.balancing.gradient_balancer import GradientBalancer
from hf_transfer_kit.options import check_number

_RIDGE = 1e-6
_STEPS = 100


def bargaining_weights(gramian: Tensor) -> Tensor:
    """w > 0 with G w = 1 / w, (K,).

    It is where w^T G w / 2 - sum_t log w_t is least, a strictly convex and self-concordant function, so that damped
    Newton steps reach it from anywhere (Nesterov & Nemirovskii 1994); Navon et al. solve it by a sequence of convex
    programs instead. A small multiple of the identity is added, for tasks that pull exactly against each other have no
    solution.

    Args:
        gramian: G, (K, K), float64, positive semidefinite, of positive diagonal.
    """
    gramian = gramian + _RIDGE * gramian.diagonal().mean() * torch.eye(len(gramian), dtype=gramian.dtype)
    weights = gramian.diagonal().rsqrt()  # the solution where no two tasks touch
    for _ in range(_STEPS):
        slope = gramian @ weights - 1 / weights
        step = torch.linalg.solve(gramian + torch.diag(weights.square().reciprocal()), slope)
        decrement = (slope @ step).clamp(min=0).sqrt()
        weights = weights - step / (1 + decrement if decrement > 0.25 else 1)
        if decrement < 1e-12:
            break
    return weights


class NashMTL(GradientBalancer):
    """w with G w = 1 / w, G the Gramian over its length (Navon et al. 2022, ICML).

    Args:
        tasks: Names of all tasks.
        max_norm: Longest sum_t w_t g_t at the shared representation; 1 by default, 0 for any length.
        sum_rows: See ``GradientBalancer``.

    Raises:
        SettingsError: When an option is out of range.
    """

    name: ClassVar[str] = "nash_mtl"
    summary: ClassVar[str] = "the tasks' bargaining solution"
    scale_free = False

    def __init__(self, tasks: Sequence[str], *, max_norm: float = 1.0, sum_rows: bool = False) -> None:
        super().__init__(tasks, sum_rows=sum_rows)
        self.max_norm = check_number(self.name, "max_norm", max_norm, low=0)

    def gradient_weights(self, gramian: Tensor, present: list[int]) -> Tensor:
        """The solution; a task alone gets weight 1."""
        if len(present) == 1:
            return torch.ones(1)
        weights = bargaining_weights(gramian / gramian.norm())
        length = (weights @ gramian @ weights).sqrt()
        return weights * (self.max_norm / length) if 0 < self.max_norm < length else weights
