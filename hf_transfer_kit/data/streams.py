"""Streams read by several workers: each row by one of them, and again from the beginning where a stream ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import count, islice
from typing import Any

import torch
from torch.utils.data import get_worker_info

from hf_transfer_kit.errors import DataError


def this_worker() -> tuple[int, int]:
    """Number of this worker of a loader, and of how many; 0 of 1 in the main process."""
    worker = get_worker_info()
    return (0, 1) if worker is None else (worker.id, worker.num_workers)


def rounds(
    name: str, stream: Iterable[Mapping[str, Any]], epoch: int, worker: int, workers: int
) -> Iterator[Mapping[str, Any]]:
    """A worker's rows of a stream, again and again; the stream is told of every new beginning with ``set_epoch``.

    Raises:
        DataError: While iterating, when there is no row for this worker.
    """
    for around in count():
        # Rounds of different epochs must not repeat one another's order; 2**16 rounds an epoch are out of reach.
        tell_epoch(stream, epoch * 2**16 + around)
        row = None
        for row in share(stream, worker, workers):
            yield row
        if row is None:
            whose = f"worker {worker} of {workers}" if workers > 1 else "the loader"
            raise DataError(
                f"The stream {name} has no rows for {whose}. Check its split or its filter, that it can be gone "
                "through again, and that it has at least as many rows as there are workers."
            )


def tell_epoch(stream: object, epoch: int) -> None:
    """Tells a stream that can be told which pass comes next."""
    if hasattr(stream, "set_epoch"):
        stream.set_epoch(epoch)


def unshare_epoch(stream: Any) -> None:
    """Gives a worker's stream an epoch of its own: datasets keeps it in memory that all workers write, but each worker
    is in another round, and two that differ on it while it is read would share out differently shuffled files.
    """
    epoch = getattr(stream, "_epoch", None)
    if isinstance(epoch, torch.Tensor):
        stream._epoch = epoch.clone()


def share(stream: Any, worker: int, workers: int) -> Iterator[Mapping[str, Any]]:
    """One worker's part of one pass through a stream: ``datasets``' by files where they suffice, others row by row."""
    files = getattr(stream, "num_shards", None)
    if workers == 1 or (files is not None and files >= workers):
        return iter(stream)  # in a worker, a stream of datasets reads that worker's files
    if files is not None:
        # datasets would leave workers without a file idle, but not in batches, which it does not share out.
        stream = ({key: values[0] for key, values in batch.items()} for batch in stream.iter(batch_size=1))
    return islice(iter(stream), worker, None, workers)
