"""Several labelled streams read as one, each as often as its weight says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import count, islice
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.multitask.mixing import MIXINGS, check_seed, mixing_shares
from hf_transfer_kit.multitask.source import Source, TaskRow, check_sources

_DRAWN_AT_ONCE = 1024


class StreamedMultiTaskDataset(IterableDataset):
    """Rows of several streams, for ``MultiTaskCollator``; it does not end, so training needs ``max_steps``.

    Each next row is from source s with probability w_s / sum w, and a source that ends begins anew. Streams shuffle
    themselves (``datasets``' ``shuffle(buffer_size=...)``) and are told of every new beginning with ``set_epoch``.
    Which source comes when depends on ``seed``, the epoch and the worker alone, so that a run resumed by Trainer, which
    skips what was read, goes on with the rows that would have come.

    Workers of a loader share the rows of each stream: ``datasets`` by files where they have enough, others row by row,
    so that others must not share themselves. The order depends on the number of workers. Several processes must each
    take their part of the same batches: set ``accelerator_config={"dispatch_batches": False}`` in TrainingArguments,
    since accelerate would glue packed batches of one process together otherwise (``MultiTaskEpochs`` refuses that).

    Args:
        sources: Name -> source around an iterable that can be gone through again.
        mixing: ``"equal"``, or a weight above 0 for each source.
        seed: Of the order of the sources, at least 0.

    Raises:
        DataError: When there is no source, or one without a task; while iterating, when a stream has no rows or lacks a
            column.
        SettingsError: When the mixing needs sizes, which streams do not have, or weights do not fit the sources.
    """

    def __init__(
        self, sources: Mapping[str, Source], mixing: str | Mapping[str, float] = "equal", *, seed: int = 0
    ) -> None:
        check_sources(sources)
        if mixing in [name for name in MIXINGS if name != "equal"]:
            raise SettingsError(
                f"mixing={mixing!r} needs the sizes of the sources, and streams have none. Choose 'equal', or give a "
                f"weight for each source, such as its number of rows: {', '.join(sources)}."
            )
        check_seed(seed)
        self.sources = sources
        self.shares = mixing_shares(dict.fromkeys(sources, 1), mixing)
        self.seed = seed
        # Shared memory: workers that stay alive between epochs see what the main process writes.
        self._epoch = torch.zeros((), dtype=torch.long).share_memory_()
        self._read = 0
        self._skipped = 0

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that any source is labelled for."""
        return tuple(dict.fromkeys(task for source in self.sources.values() for task in source.tasks))

    def set_epoch(self, epoch: int) -> None:
        """Which epoch the next pass is, from 0."""
        self._epoch.fill_(epoch)

    def state_dict(self) -> dict[str, int]:
        """Where this pass is: its epoch, and how many rows were read."""
        return {"epoch": int(self._epoch), "rows": self._read}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Makes the next pass go on where ``state_dict`` was called; rows read before are read again and dropped."""
        self.set_epoch(state["epoch"])
        self._skipped = state["rows"]

    def __iter__(self) -> Iterator[TaskRow]:
        worker = get_worker_info()
        index, workers = (worker.id, worker.num_workers) if worker is not None else (0, 1)
        epoch, skipped, self._skipped = int(self._epoch), self._skipped, 0
        if worker is not None:
            for source in self.sources.values():
                _unshare_epoch(source.dataset)
        streams = [
            (source, _rounds(name, source.dataset, epoch, index, workers)) for name, source in self.sources.items()
        ]
        for read, number in enumerate(self._numbers(epoch, index), start=1):
            source, rows = streams[number]
            row = next(rows)
            if read > skipped:
                self._read = read
                yield source.task_row(row)

    def _numbers(self, epoch: int, worker: int) -> Iterator[int]:
        """Which source comes next, without end."""
        generator = np.random.default_rng([self.seed, epoch, worker])
        shares = list(self.shares.values())
        while True:
            yield from generator.choice(len(shares), size=_DRAWN_AT_ONCE, p=shares).tolist()


def _rounds(
    name: str, stream: Iterable[Mapping[str, Any]], epoch: int, worker: int, workers: int
) -> Iterator[Mapping[str, Any]]:
    """A worker's rows of a stream, again and again."""
    for around in count():
        if hasattr(stream, "set_epoch"):
            # Rounds of different epochs must not repeat one another's order; 2**16 rounds an epoch are out of reach.
            stream.set_epoch(epoch * 2**16 + around)
        row = None
        for row in _share(stream, worker, workers):
            yield row
        if row is None:
            whose = f"worker {worker} of {workers}" if workers > 1 else "the loader"
            raise DataError(
                f"The stream {name} has no rows for {whose}. Check its split or its filter, that it can be gone "
                "through again, and that it has at least as many rows as there are workers."
            )


def _unshare_epoch(stream: Any) -> None:
    """Gives a worker's stream an epoch of its own: datasets keeps it in memory that all workers write, but each worker
    is in another round, and two that differ on it while it is read would share out differently shuffled files.
    """
    epoch = getattr(stream, "_epoch", None)
    if isinstance(epoch, torch.Tensor):
        stream._epoch = epoch.clone()


def _share(stream: Any, worker: int, workers: int) -> Iterator[Mapping[str, Any]]:
    """One worker's part of one pass through a stream."""
    files = getattr(stream, "num_shards", None)
    if workers == 1 or (files is not None and files >= workers):
        return iter(stream)  # in a worker, a stream of datasets reads that worker's files
    if files is not None:
        # datasets would leave workers without a file idle, but not in batches, which it does not share out.
        stream = ({key: values[0] for key, values in batch.items()} for batch in stream.iter(batch_size=1))
    return islice(iter(stream), worker, None, workers)
