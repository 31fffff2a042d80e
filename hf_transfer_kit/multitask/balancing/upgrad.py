"""Unconflicting projections: no task's loss rises, to first order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from hf_transfer_kit.multitask.balancing.gradient_balancer import GradientBalancer, of_torchjd


class UPGrad(GradientBalancer):
    """The mean of the gradients, each projected onto the dual cone of all (Quinton and Rey 2024, arXiv 2406.16232).

    Weights are 1/K each without conflict, and larger with it.

    Args:
        tasks: Names of all tasks.
        sum_rows: See ``GradientBalancer``.
    """

    name: ClassVar[str] = "upgrad"
    summary: ClassVar[str] = "each gradient projected to where none conflicts, then their mean"

    def __init__(self, tasks: Sequence[str], *, sum_rows: bool = False) -> None:
        weighting = of_torchjd(self.name, "UPGradWeighting")

        from hf_transfer_kit.multitask.balancing.dual_cone import NonNegativeLeastSquares

        super().__init__(tasks, sum_rows=sum_rows)
        self.weighting = weighting(projector=NonNegativeLeastSquares())

    def gradient_weights(self, gramian: Tensor, present: list[int]) -> Tensor:
        """torchjd's."""
        return self.weighting(gramian)
