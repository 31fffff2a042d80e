"""Conflict-averse gradients: near the mean, the direction that is best for the task it serves worst."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from hf_transfer_kit.multitask.balancing.gradient_balancer import GradientBalancer, installed, of_torchjd
from hf_transfer_kit.options import check_number


class CAGrad(GradientBalancer):
    """max_d min_t <g_t, d> within |d - g_0| <= c |g_0|, g_0 the mean gradient (Liu et al. 2021, NeurIPS).

    Weights sum to more than 1, the more the larger c. Needs cvxpy and clarabel: the extra ``cagrad``.

    Args:
        tasks: Names of all tasks.
        c: Radius of the ball, at least 0; the paper's 0.4 by default. At 0 it is the mean gradient.
        sum_rows: See ``GradientBalancer``.

    Raises:
        SettingsError: When c is negative, or packages are missing.
    """

    name: ClassVar[str] = "cagrad"
    summary: ClassVar[str] = "near the mean gradient, best for the task served worst"

    def __init__(self, tasks: Sequence[str], *, c: float = 0.4, sum_rows: bool = False) -> None:
        weighting = of_torchjd(self.name, "CAGradWeighting")

        super().__init__(tasks, sum_rows=sum_rows)
        self.weighting = installed(self.name, weighting, c=check_number(self.name, "c", c, low=0))

    def gradient_weights(self, gramian: Tensor, present: list[int]) -> Tensor:
        """torchjd's."""
        return self.weighting(gramian)
