"""Gradient surgery: each task's gradient loses what conflicts with the others'."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from hf_transfer_kit.multitask.balancing.draws import Draws, drawing_from
from hf_transfer_kit.multitask.balancing.gradient_balancer import GradientBalancer, of_torchjd


class PCGrad(GradientBalancer):
    """Projecting conflicting gradients (Yu et al. 2020, NeurIPS); weights are at least 1, all 1 without conflict.

    The order in which a task meets the others is drawn in every step, alike in all processes.

    Args:
        tasks: Names of all tasks.
        seed: Of the orders, at least 0; 0 by default.
        sum_rows: See ``GradientBalancer``.

    Raises:
        SettingsError: When the seed is no such number.
    """

    name: ClassVar[str] = "pcgrad"
    summary: ClassVar[str] = "each gradient projected off those it conflicts with"

    def __init__(self, tasks: Sequence[str], *, seed: int = 0, sum_rows: bool = False) -> None:
        weighting = of_torchjd(self.name, "PCGradWeighting")

        super().__init__(tasks, sum_rows=sum_rows)
        self.draws = Draws(self.name, seed)
        self.weighting = weighting()

    def gradient_weights(self, gramian: Tensor, present: list[int]) -> Tensor:
        """torchjd's, with this step's orders."""
        with drawing_from(self.draws.next_seed()):
            return self.weighting(gramian)
