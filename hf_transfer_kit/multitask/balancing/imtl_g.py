"""Impartial gradients: a sum that projects equally onto every task's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from hf_transfer_kit.multitask.balancing.gradient_balancer import GradientBalancer, of_torchjd


class IMTLG(GradientBalancer):
    """sum_t w_t g_t with equal projections onto all g_t / |g_t| (Liu et al. 2021, ICLR), the gradients' half of IMTL.

    Weights sum to 1 and may be negative.

    Args:
        tasks: Names of all tasks.
        sum_rows: See ``GradientBalancer``.
    """

    name: ClassVar[str] = "imtl_g"
    summary: ClassVar[str] = "equal projections onto all gradients"

    def __init__(self, tasks: Sequence[str], *, sum_rows: bool = False) -> None:
        weighting = of_torchjd(self.name, "IMTLGWeighting")

        super().__init__(tasks, sum_rows=sum_rows)
        self.weighting = weighting()

    def gradient_weights(self, gramian: Tensor, present: list[int]) -> Tensor:
        """torchjd's."""
        return self.weighting(gramian)
