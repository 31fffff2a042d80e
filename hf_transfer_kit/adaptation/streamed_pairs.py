"""Two streams read side by side."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from torch.utils.data import IterableDataset

from hf_transfer_kit.adaptation.domain_pairs import Pair, check_same_classes, class_names, without_labels
from hf_transfer_kit.errors import DataError


class StreamedDomainPairs(IterableDataset):
    """Pairs of rows from two streams, for ``DomainCollator``; an epoch is one pass over the source.

    A target that ends sooner begins anew. Each stream shuffles itself (``datasets``' ``shuffle(buffer_size=...)``), and
    is told of every epoch and, the target, of every new beginning, with ``set_epoch``. Training needs ``max_steps``.

    Args:
        source: Iterable of rows with labels, one that can be gone through again.
        target: The same, with or without labels: those are dropped here.
        target_columns: What is kept of a target row; None keeps all but ``label``, ``labels`` and ``label_ids``.

    Raises:
        DataError: When both name their classes and the names differ; while iterating, when a stream is empty.
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
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Which epoch the next pass is, from 0."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Pair]:
        _tell(self.source, self.epoch)
        target = self._endless_target()
        for row in self.source:
            yield Pair(dict(row), without_labels(next(target), self.target_columns))

    def _endless_target(self) -> Iterator[Mapping[str, Any]]:
        around = 0
        while True:
            # Rounds of different epochs must not repeat one another's order; 2**16 rounds an epoch are out of reach.
            _tell(self.target, self.epoch * 2**16 + around)
            row = None
            for row in self.target:
                yield row
            if row is None:
                raise DataError(
                    "The target stream is empty, but both domains need rows. Check its split or its filter."
                )
            around += 1


def _tell(stream: object, epoch: int) -> None:
    if hasattr(stream, "set_epoch"):
        stream.set_epoch(epoch)
