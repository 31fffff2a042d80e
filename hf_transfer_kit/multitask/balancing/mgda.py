"""Multiple gradient descent: the shortest vector between the tasks' gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from hf_transfer_kit.multitask.balancing.gradient_balancer import GradientBalancer, of_torchjd
from hf_transfer_kit.options import check_int, check_number


class MGDA(GradientBalancer):
    """min over the simplex of |sum_t w_t g_t| (Désidéri 2012; Sener and Koltun 2018, NeurIPS): MGDA-UB.

    Weights sum to 1: against a sum of losses the trunk moves more slowly.

    Args:
        tasks: Names of all tasks.
        epsilon: The Frank-Wolfe step below which the solver stops, above 0; 0.001 by default.
        max_iters: At most so many steps of the solver, at least 1; 100 by default.
        sum_rows: See ``GradientBalancer``.

    Raises:
        SettingsError: When an option is out of range.
    """

    name: ClassVar[str] = "mgda"
    summary: ClassVar[str] = "the shortest convex combination of the gradients"

    def __init__(
        self, tasks: Sequence[str], *, epsilon: float = 0.001, max_iters: int = 100, sum_rows: bool = False
    ) -> None:
        weighting = of_torchjd(self.name, "MGDAWeighting")

        super().__init__(tasks, sum_rows=sum_rows)
        self.weighting = weighting(
            check_number(self.name, "epsilon", epsilon, low=0, above=True),
            check_int(self.name, "max_iters", max_iters, low=1),
        )

    def gradient_weights(self, gramian: Tensor, present: list[int]) -> Tensor:
        """torchjd's."""
        return self.weighting(gramian)
