"""Several labelled streams read as one, each as often as its weight says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from hf_transfer_kit.data.streams import rounds, this_worker, unshare_epoch
from hf_transfer_kit.errors import SettingsError
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

    Example:
        >>> from datasets import Dataset
        >>> stream = Dataset.from_list([{"text": "a", "label": 0}]).to_iterable_dataset()
        >>> photos = drawings = Source(stream, {"real": "label"})
        >>> rows = iter(StreamedMultiTaskDataset({"photos": photos, "drawings": drawings}, seed=0))
        >>> next(rows).input
        'default'
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
        index, workers = this_worker()
        epoch, skipped, self._skipped = int(self._epoch), self._skipped, 0
        if get_worker_info() is not None:
            for source in self.sources.values():
                unshare_epoch(source.dataset)
        streams = [
            (source, rounds(name, source.dataset, epoch, index, workers)) for name, source in self.sources.items()
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
