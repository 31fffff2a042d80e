"""Fixed weights: what every other way is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.multitask.balancing.balancer import Balancer
from hf_transfer_kit.options import check_number


class Fixed(Balancer):
    """sum_t w_t L_t with weights that stay.

    Args:
        tasks: Names of all tasks.
        weights: Task -> w_t, at least 0; 1 for those not named, which is the default for all.

    Raises:
        SettingsError: When a weight is negative or names no task.
    """

    name: ClassVar[str] = "fixed"
    summary: ClassVar[str] = "the sum of losses, each times a fixed weight"

    def __init__(self, tasks: Sequence[str], *, weights: Mapping[str, float] | None = None) -> None:
        super().__init__(tasks)
        given = dict(weights or {})
        unknown = [name for name in given if name not in self.tasks]
        if unknown:
            raise SettingsError(
                f"fixed: weights name {', '.join(map(repr, unknown))}, but the tasks are "
                f"{', '.join(map(repr, self.tasks))}; leave the others out."
            )
        self.task_weights = {
            name: check_number(self.name, f"weights[{name!r}]", given.get(name, 1.0), low=0) for name in self.tasks
        }

    def combine(self, names: list[str], losses: list[Tensor], shared: Tensor | Sequence[Tensor] | None) -> Tensor:
        """sum_t w_t L_t."""
        values = torch.stack(losses)  # (K,)
        weights = values.new_tensor([self.task_weights[name] for name in names])
        self.keep(names, weights)
        return (weights * values).sum()
