"""The geometric loss: the scale of a task's loss does not count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.multitask.balancing.balancer import Balancer
from hf_transfer_kit.multitask.balancing.processes import averaged

_SMALLEST = 1e-8


def gls_weights(losses: Tensor) -> Tensor:
    """d/dL_t of the geometric mean: (prod_i L_i)^(1/K) / (K L_t).

    Args:
        losses: L, (K,), not negative; smaller ones than 1e-8 count as 1e-8, where the derivative would be infinite.

    Returns:
        (K,).
    """
    losses = losses.clamp(min=_SMALLEST)
    return losses.log().mean().exp() / (len(losses) * losses)


class GLS(Balancer):
    """Geometric loss strategy, (prod_t L_t)^(1/K) over the K tasks in the batch (Chennupati et al. 2019, CVPRW).

    Computed as sum_t w_t L_t with w_t its derivative at the mean losses of all processes: in one process the value and
    the gradient are those of the geometric mean; in several, the gradient is that of one process with all rows.

    Args:
        tasks: Names of all tasks.
    """

    name: ClassVar[str] = "gls"
    summary: ClassVar[str] = "geometric mean of the losses"

    def combine(self, names: list[str], losses: list[Tensor], shared: Tensor | Sequence[Tensor] | None) -> Tensor:
        """The geometric mean.

        Raises:
            SettingsError: When a loss is negative.
        """
        values = torch.stack(losses)  # (K,)
        everywhere = averaged(values)
        if (everywhere < 0).any():
            found = dict(zip(names, everywhere.tolist(), strict=True))
            raise SettingsError(
                f"gls: a geometric mean needs losses of 0 or more, found {found}; use another balancer."
            )
        weights = gls_weights(everywhere)
        self.keep(names, weights)
        return (weights * values).sum()
