"""Passing over a dataset outside Trainer's loop: each process its own rows, nothing of the training disturbed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from hf_transfer_kit.tuning.random_state import preserved_random_state


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
    """
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    if hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__"):
        order = range(len(dataset))
        if seed is not None:
            order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed)).tolist()
        chosen = (dataset[index] for index in order[:num_samples][rank::world])
    else:
        chosen = islice(islice(iter(dataset), num_samples), rank, None, world)
    while rows := list(islice(chosen, batch_size)):
        yield collate(rows)


def sum_over_processes(tensor: Tensor) -> Tensor:
    """The sum over all processes, in place; every process must call it."""
    if dist.is_initialized():
        dist.all_reduce(tensor)
    return tensor


def on_device(batch: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """The batch with its tensors on ``device``."""
    return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in batch.items()}


@contextmanager
def undisturbed(model: nn.Module, seed: int) -> Iterator[None]:
    """Evaluation mode and seeded random numbers inside; outside, modes and random states are as if nothing was."""
    modes = {module: module.training for module in model.modules()}
    try:
        with preserved_random_state():
            torch.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed % 2**32)
            for module in modes:
                module.training = False
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
