"""Passing over a dataset outside Trainer's loop: each process its own rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from hf_transfer_kit.backbones.shards import has_shards
from hf_transfer_kit.tuning.all_rows import number_of_processes, process_number
from hf_transfer_kit.values.rows import collated


def own_batches(
    dataset: Any,
    collate: Callable[[list], Mapping[str, Any]],
    *,
    batch_size: int,
    num_samples: int | None = None,
    seed: int | None = None,
) -> Iterator[Mapping[str, Any]]:
    """Batches of this process's rows: over all processes each chosen row comes exactly once.

    Args:
        dataset: With a length and indices, or iterable.
        collate: Makes a batch of a list of rows.
        batch_size: Rows a batch, the last one may be smaller.
        num_samples: How many rows over all processes; None takes all.
        seed: Chooses the rows at random; None, and iterable datasets, take the first ones.

    Raises:
        DataError: When the collator does not take the rows.
    """
    rank, world = process_number(), number_of_processes()
    if hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__"):
        order: Sequence[int] = range(len(dataset))
        chosen: Iterator[Any]
        if seed is not None:
            order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed)).tolist()
        chosen = (dataset[index] for index in order[:num_samples][rank::world])
    else:
        chosen = islice(islice(iter(dataset), num_samples), rank, None, world)
    while rows := list(islice(chosen, batch_size)):
        yield collated(collate, rows, of=dataset)


def counted_batches(
    model: nn.Module, dataset: Any, collate: Callable[[list], Mapping[str, Any]], *, batch_size: int
) -> Iterator[tuple[Mapping[str, Any], bool]]:
    """As ``own_batches``, of all rows, each with whether it counts.

    A sharded model's forward waits for that of every other process, so all get as many batches: one that has fewer gets
    its last again, or the first row, which does not count.

    Args:
        model: What the batches are for.
        dataset: As of ``own_batches``, not empty.
        collate: As of ``own_batches``.
        batch_size: As of ``own_batches``.
    """
    own, sharded = own_batches(dataset, collate, batch_size=batch_size), has_shards(model)
    device, last = next(model.parameters()).device, None
    while True:
        batch = next(own, None)
        somewhere = batch is not None
        if sharded:
            somewhere = bool(sum_over_processes(torch.tensor(float(somewhere), device=device)))
        if not somewhere:
            return
        last = batch or last or collated(collate, [next(iter(dataset))], of=dataset)
        yield last, batch is not None


def sum_over_processes(tensor: Tensor) -> Tensor:
    """The sum over all processes, in place; every process must call it."""
    if number_of_processes() > 1:
        dist.all_reduce(tensor)
    return tensor
