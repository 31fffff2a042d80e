"""One loss whose backward weighs the tasks' gradients where the heads meet the trunk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from hf_transfer_kit.errors import ModelError
from hf_transfer_kit.multitask.balancing.task_gradients import (
    gradients_at,
    gramian,
    head_leaves,
    stacked,
    summed_gramian,
)


@dataclass(frozen=True)
class _Heads:
    """What lies between the shared representation and the losses."""

    losses: Sequence[Tensor]
    shared: Sequence[Tensor]
    leaves: Sequence[Tensor]
    weigh: Callable[[Tensor], Tensor]
    sum_rows: bool


class _BalancedBackward(Function):
    """Its inputs are the shared tensors and the heads' parameters, so that the losses' own graph is not run again."""

    @staticmethod
    def forward(ctx: Any, heads: _Heads, *inputs: Tensor) -> Tensor:
        ctx.heads = heads
        return torch.stack([loss.detach().reshape(()) for loss in heads.losses]).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        heads: _Heads = ctx.heads
        count = len(heads.shared)
        # With the loss's scale inside: half-precision heads would underflow without it.
        gradients = gradients_at(heads.losses, [*heads.shared, *heads.leaves], scale)
        rows = stacked([of_task[:count] for of_task in gradients], heads.shared)
        of_rows = summed_gramian(rows, heads.shared, scale) if heads.sum_rows else gramian(rows, scale)
        weights = heads.weigh(of_rows)
        trunk = [
            (weights.to(matrix) @ matrix).view_as(tensor).to(tensor.dtype)
            for matrix, tensor in zip(rows, heads.shared, strict=True)
        ]
        return None, *trunk, *(_total(of_leaf) for of_leaf in zip(*(row[count:] for row in gradients), strict=True))


def balanced_loss(
    losses: Sequence[Tensor],
    shared: Sequence[Tensor],
    weigh: Callable[[Tensor], Tensor],
    *,
    sum_rows: bool = False,
) -> Tensor:
    """sum_t L_t, whose gradient at ``shared`` is sum_t w_t g_t, and 1 times each task's own at everything else.

    ``backward`` runs each head's graph once, then ``weigh`` on the Gramian of the g_t, then the trunk once. It may be
    scaled: ``weigh`` sees the unscaled Gramian. Differentiable once.

    Args:
        losses: K losses, each of one element.
        shared: Tensors that need gradients and do not depend on each other.
        weigh: Gramian (K, K), float64 on the CPU -> weights (K,).
        sum_rows: Whether it is the Gramian of gradients summed over rows.

    Returns:
        0-dim.

    Raises:
        ModelError: When no loss depends on ``shared``.
    """
    found = [head_leaves(loss, shared) for loss in losses if loss.requires_grad]
    if not any(reached for _, reached in found):
        raise ModelError(
            "No task's loss depends on the shared representation that was given; give the very tensors that the heads "
            "read, not copies or slices of them, and compile no more than the trunk and the heads on their own."
        )
    leaves = list({id(leaf): leaf for own, _ in found for leaf in own}.values())
    return _BalancedBackward.apply(_Heads(losses, shared, leaves, weigh, sum_rows), *shared, *leaves)


def _total(gradients: Sequence[Tensor | None]) -> Tensor | None:
    given = [gradient for gradient in gradients if gradient is not None]
    return sum(given[1:], start=given[0]) if given else None
