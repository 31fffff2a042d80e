"""Rows of all processes in each: what is no mean over rows is computed from the whole batch, as one process would."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, distributed
from transformers import TrainingArguments

from hf_transfer_kit.errors import SettingsError


def number_of_processes() -> int:
    """How many processes train together; 1 outside distributed training."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def process_number() -> int:
    """Which of them this one is, from 0."""
    return distributed.get_rank() if number_of_processes() > 1 else 0


def check_together(args: TrainingArguments) -> None:
    """Refuses processes that have met and would each train by itself.

    Transformers takes a process for one that is alone, where a launcher started several on a machine without a GPU and
    nobody said that the CPU is meant.

    Raises:
        SettingsError: When the Trainer knows of fewer processes than there are.
    """
    if number_of_processes() > 1 and args.world_size == 1:
        raise SettingsError(
            f"{number_of_processes()} processes were started together, and the Trainer of each takes it for one that "
            "is alone, so that each would train by itself. On CPUs give TrainingArguments(use_cpu=True), or start one "
            "process."
        )


def all_rows(rows: Tensor) -> Tensor:
    """The rows of all processes one after the other, with a gradient to each process's own; all must call it.

    A loss that every process computes from them, and whose gradients are averaged over the processes as
    DistributedDataParallel does, has the gradients that one process would get from the whole batch.

    Args:
        rows: This process's, (N, ...); N may differ from process to process, the rest may not.
    """
    return rows if number_of_processes() == 1 else _exchanged(rows)


@torch.compiler.disable
def _exchanged(rows: Tensor) -> Tensor:
    return _AllRows.apply(rows, row_counts(len(rows), rows.device))


class Part:
    """This process's part of a pass over rows, where the processes share one; else all of them.

    Args:
        rows: How many there are.
        together: Whether all processes make this pass at the same time, so that each may take a part.

    Attributes:
        places: Which rows this process reads.
    """

    def __init__(self, rows: int, *, together: bool) -> None:
        parts = number_of_processes() if together else 1
        self.shared = 1 < parts <= rows
        place = process_number()
        self.places = range(rows * place // parts, rows * (place + 1) // parts) if self.shared else range(rows)

    def batches(self, size: int) -> Iterator[range]:
        """The places, so many at a time."""
        return (self.places[start : start + size] for start in range(0, len(self.places), size))

    def whole(self, found: Tensor) -> Tensor:
        """What all processes found, in the order of the rows, from what this one found, (N, ...)."""
        return all_rows(found) if self.shared else found


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
