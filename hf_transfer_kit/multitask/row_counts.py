"""How many rows a task has in all processes, so that its loss is the mean over all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from hf_transfer_kit.tuning.all_rows import number_of_processes


def loss_shares(
    names: Sequence[str], counts: Mapping[str, Tensor | int], device: torch.device
) -> dict[str, Tensor | float]:
    """Task -> what its sum of losses is multiplied with, for all tasks that have rows in any process.

    Trainer averages gradients over processes; with the number of rows in all of them this gives the mean over all rows,
    also where a process has fewer of a task or none.

    Args:
        names: All tasks, in the same order in every process.
        counts: Task -> rows of this process's batch, of those that it has.
        device: Where processes exchange tensors.
    """
    if number_of_processes() == 1:
        return {name: 1 / at_least_one(counts[name]) for name in names if name in counts}
    everywhere = torch.tensor([0.0] * 2 * len(names), device=device)
    for index, name in enumerate(names):
        everywhere[index] = counts.get(name, 0)
        everywhere[len(names) + index] = name in counts
    torch.distributed.all_reduce(everywhere)
    present = everywhere[len(names) :].tolist()
    return {
        name: number_of_processes() / everywhere[index].clamp(min=1)
        for index, name in enumerate(names)
        if present[index]
    }


def at_least_one(count: Tensor | int) -> Tensor | int:
    """The count, or 1 where it is 0."""
    return count.clamp(min=1) if isinstance(count, Tensor) else max(count, 1)
