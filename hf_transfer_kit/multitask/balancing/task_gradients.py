"""Gradients of each task's loss at the shared representation, and their Gramian."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor
from torch.autograd.graph import Node, get_gradient_edge

from hf_transfer_kit.errors import ModelError
from hf_transfer_kit.multitask.balancing.processes import averaged
from hf_transfer_kit.tuning.all_rows import number_of_processes


def learning_tensors(shared: Tensor | Sequence[Tensor] | None, method: str) -> list[Tensor]:
    """The tensors of the shared representation through which a trunk learns; none where it is frozen.

    Args:
        shared: One tensor or several.
        method: Who asks, for the message.

    Raises:
        ModelError: When no tensor was given.
    """
    tensors = [shared] if isinstance(shared, Tensor) else list(shared or ())
    if not tensors:
        raise ModelError(
            f"{method} compares the tasks' gradients at the shared representation, but was given none; call it with "
            "the features that the heads read."
        )
    return [tensor for tensor in tensors if tensor.requires_grad]


def head_leaves(loss: Tensor, shared: Sequence[Tensor]) -> tuple[list[Tensor], bool]:
    """The parameters a loss depends on other than through ``shared``, and whether it depends on ``shared`` at all.

    Only the graph between the loss and ``shared`` is walked: the heads, not the trunk.
    """
    ends = {(edge.node, edge.output_nr) for edge in map(get_gradient_edge, shared)}
    start = get_gradient_edge(loss)
    waiting: list[tuple[Node | None, int]] = [(start.node, start.output_nr)]
    seen: set[Node] = set()
    leaves: list[Tensor] = []
    reached = False
    while waiting:
        node, number = waiting.pop()
        if node is None:
            continue
        if (node, number) in ends:
            reached = True
        elif node not in seen:
            seen.add(node)
            if hasattr(node, "variable"):
                leaves.append(node.variable)
            waiting.extend(node.next_functions)
    return leaves, reached


def gradients_at(
    losses: Sequence[Tensor], shared: Sequence[Tensor], scale: Tensor | None = None
) -> list[list[Tensor | None]]:
    """For each loss its gradient at each tensor of ``shared``; None where it does not depend on it.

    The graph is kept, no ``.grad`` is touched, the trunk does not run backward.

    Args:
        losses: K losses, each of one element.
        shared: Tensors of any shape. May be followed by parameters.
        scale: What gradients are multiplied by, 0-dim; None for 1.
    """
    # A forward's autocast must not choose the precision of a backward.
    with torch.autocast(shared[0].device.type, enabled=False):
        return [
            list(
                torch.autograd.grad(
                    loss,
                    shared,
                    None if scale is None else scale.to(loss.dtype).expand_as(loss),
                    retain_graph=True,
                    allow_unused=True,
                )
            )
            if loss.requires_grad
            else [None] * len(shared)
            for loss in losses
        ]


def stacked(gradients: Sequence[Sequence[Tensor | None]], shared: Sequence[Tensor]) -> list[Tensor]:
    """For each tensor of ``shared`` the tasks' gradients as rows, (K, elements), zero where None; at least float32."""
    return [
        torch.stack(
            [(torch.zeros_like(tensor) if (own := row[place]) is None else own).flatten() for row in gradients]
        ).to(torch.promote_types(tensor.dtype, torch.float32))
        for place, tensor in enumerate(shared)
    ]


def gramian(rows: Sequence[Tensor], scale: Tensor | float = 1.0) -> Tensor:
    """J J^T of the tasks' gradients with respect to the shared representation of all processes' rows.

    Losses are averaged over processes, so a process holds P times its columns of J: the Gramians' mean divided by P. A
    factor on the losses, of mixed precision or accumulation, is divided out.

    Args:
        rows: Matrices (K, elements), side by side the Jacobian J of this process.
        scale: The factor that is inside ``rows``.

    Returns:
        (K, K), float64 on the CPU, where small solvers are at home; the same in every process.
    """
    product = cast(Tensor, sum(matrix @ matrix.T for matrix in rows)) / scale / scale
    return (averaged(product) / number_of_processes()).to("cpu", torch.float64)


def tasks_gramian(losses: Sequence[Tensor], shared: Sequence[Tensor], *, sum_rows: bool = False) -> Tensor:
    """The Gramian, (K, K), float64, of K losses at the shared representation, found during ``forward``."""
    rows = stacked(gradients_at(losses, shared), shared)
    return summed_gramian(rows, shared) if sum_rows else gramian(rows)


def summed_gramian(rows: Sequence[Tensor], shared: Sequence[Tensor], scale: Tensor | float = 1.0) -> Tensor:
    """As ``gramian``, of gradients summed over rows: those at a bias added to every row.

    Tensors of the same width D, whose last axis holds the features, count as one representation.

    Args:
        rows: As for ``gramian``.
        shared: The tensors that ``rows`` belong to.
        scale: The factor that is inside ``rows``.
    """
    sums: dict[int, Tensor] = {}
    for matrix, tensor in zip(rows, shared, strict=True):
        of_tensor = matrix.view(len(matrix), -1, tensor.shape[-1]).sum(1)  # (K, D)
        sums[tensor.shape[-1]] = sums.get(tensor.shape[-1], 0) + of_tensor
    everywhere = [averaged(of_width / scale) for of_width in sums.values()]
    return cast(Tensor, sum(matrix @ matrix.T for matrix in everywhere)).to("cpu", torch.float64)
