"""Rows of all processes in each: what is no mean over rows is computed from the whole batch, as one process would."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed


def number_of_processes() -> int:
    """How many processes train together; 1 outside distributed training."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def all_rows(rows: Tensor) -> Tensor:
    """The rows of all processes one after the other, with a gradient to each process's own; all must call it.

    A loss that every process computes from them, and whose gradients are averaged over the processes as
    DistributedDataParallel does, has the gradients that one process would get from the whole batch.

    Args:
        rows: This process's, (N, ...); N may differ from process to process, the rest may not.
    """
    return rows if number_of_processes() == 1 else _AllRows.apply(rows, row_counts(len(rows), rows.device))


def row_counts(rows: int, device: torch.device) -> list[int]:
    """How many rows each process has; all must call it."""
    own = torch.tensor([rows], device=device)
    found = [torch.empty_like(own) for _ in range(number_of_processes())]
    distributed.all_gather(found, own)
    return [int(count) for count in found]


class _AllRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: list[int]) -> Tensor:
        ctx.counts = counts
        # What is exchanged has one shape everywhere, and no booleans, which gloo does not know.
        sent = rows.to(torch.uint8) if rows.dtype == torch.bool else rows
        padded = sent.new_zeros(max(counts), *rows.shape[1:])
        padded[: len(rows)] = sent
        found = [torch.empty_like(padded) for _ in counts]
        distributed.all_gather(found, padded)
        return torch.cat([part[:count] for part, count in zip(found, counts, strict=True)]).to(rows.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        total = gradient.contiguous().clone()
        distributed.all_reduce(total)
        return total.split(ctx.counts)[distributed.get_rank()], None
