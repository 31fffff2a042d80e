"""The mean gradient, projected to where it conflicts with no task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from hf_transfer_kit.multitask.balancing.gradient_balancer import GradientBalancer, of_torchjd


class DualProj(GradientBalancer):
    """The mean of the gradients, projected onto their dual cone (Lopez-Paz and Ranzato 2017, NeurIPS, equation 11).

    Weights are 1/K each without conflict, and larger with it.

    Args:
        tasks: Names of all tasks.
        sum_rows: See ``GradientBalancer``.
    """

    name: ClassVar[str] = "dual_proj"
    summary: ClassVar[str] = "mean of the gradients, projected to where it conflicts with none"

    def __init__(self, tasks: Sequence[str], *, sum_rows: bool = False) -> None:
        weighting = of_torchjd(self.name, "DualProjWeighting")

        from hf_transfer_kit.multitask.balancing.dual_cone import NonNegativeLeastSquares

        super().__init__(tasks, sum_rows=sum_rows)
        self.weighting = weighting(projector=NonNegativeLeastSquares())

    def gradient_weights(self, gramian: Tensor, present: list[int]) -> Tensor:
        """torchjd's."""
        return self.weighting(gramian)
