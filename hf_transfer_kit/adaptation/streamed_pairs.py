"""Two streams read side by side."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

from hf_transfer_kit.adaptation.domain_pairs import Pair, check_same_classes, class_names, without_labels
from hf_transfer_kit.data.streams import rounds, share, tell_epoch, this_worker, unshare_epoch


class StreamedDomainPairs(IterableDataset):
    """Pairs of rows from two streams, for ``DomainCollator``; an epoch is one pass over the source.

    A target that ends sooner begins anew. Workers of a loader share the rows of each stream: ``datasets`` by files
    where they have enough, others row by row, so that others must not share themselves. Each stream shuffles itself
    (``datasets``' ``shuffle(buffer_size=...)``), and is told of every epoch and, the target, of every new beginning,
    with ``set_epoch``. Training needs ``max_steps``.

    Args:
        source: Iterable of rows with labels, one that can be gone through again.
        target: The same, with or without labels: those are dropped here.
        target_columns: What is kept of a target row; None keeps all but ``label``, ``labels`` and ``label_ids``.

    Raises:
        DataError: When both name their classes and the names differ; while iterating, when there is no target row.

    Example:
        >>> pairs = iter(StreamedDomainPairs(train, target))
        >>> batch = DomainCollator(collator)([next(pairs), next(pairs)])
        >>> sorted(batch)
        ['labels', 'pixel_values', 'target_pixel_values']
    """

    def __init__(
        self,
        source: Iterable[Mapping[str, Any]],
        target: Iterable[Mapping[str, Any]],
        *,
        target_columns: Collection[str] | None = None,
    ) -> None:
        check_same_classes(class_names(source), class_names(target))
        self.source = source
        self.target = target
        self.target_columns = target_columns
        # Shared memory: workers that stay alive between epochs see what the main process writes.
        self._epoch = torch.zeros((), dtype=torch.long).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Which epoch the next pass is, from 0."""
        self._epoch.fill_(epoch)

    def __iter__(self) -> Iterator[Pair]:
        worker, workers = this_worker()
        if get_worker_info() is not None:
            for stream in (self.source, self.target):
                unshare_epoch(stream)
        epoch = int(self._epoch)
        tell_epoch(self.source, epoch)
        target = rounds("target", self.target, epoch, worker, workers)
        for row in share(self.source, worker, workers):
            yield Pair(dict(row), without_labels(next(target), self.target_columns))
