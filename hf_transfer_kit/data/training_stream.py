"""A stream to train on: pass after pass, its rows dealt so that batches are the same for any number of readers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count, islice
from typing import Any

import numpy as np
from torch.utils.data import IterableDataset

from hf_transfer_kit.data.held_rows import OrderCheck
from hf_transfer_kit.data.raw_inputs import RawInputs
from hf_transfer_kit.data.streamed import RowMaker, StreamedData
from hf_transfer_kit.data.streams import this_worker
from hf_transfer_kit.errors import DataError
from hf_transfer_kit.options import check_int
from hf_transfer_kit.values import LabelledRows


class TrainingStream(IterableDataset):
    """The training rows of a stream, without an end: each pass is shuffled within a buffer of its own.

    Every worker of a loader, and with ``dealt`` every process, goes through the whole stream and makes inputs of its
    own rows alone, so that batches are those that one process without workers reads. (Where rows are left out, those
    that move up are of the same reader.)

    Args:
        data: The streams; ``train`` is read.
        inputs: What makes inputs of raw rows.
        held: So many rows at its beginning are not trained on.
        buffer: Raw rows that are held, of which the next one is drawn; 1 leaves their order.
        seed: Of the order; each pass has another.
        skip: Leave rows out that cannot be read.
        change: Applied to a row's only input, such as augmentation.
        sample: Its first rows, prepared, that can be asked for by number.

    Raises:
        SettingsError: When ``buffer`` is below 1.
        DataError: While iterating, when a row cannot be used, there is none, or the first thousand come in the order of
            their classes.
    """

    def __init__(
        self,
        data: StreamedData,
        inputs: RawInputs,
        *,
        held: int = 0,
        buffer: int = 1000,
        seed: int = 0,
        skip: bool = False,
        change: Callable[[Any], Any] | None = None,
        sample: LabelledRows | None = None,
    ) -> None:
        check_int("TrainingStream", "buffer", buffer, low=1)
        self.data, self.inputs, self.held, self.buffer, self.seed = data, inputs, held, buffer, seed
        self.skip, self.change, self.sample = skip, change, sample
        self._batch, self._part = 1, range(1)

    def dealt(self, batch_size: int, part: range) -> TrainingStream:
        """The same stream, of which this reader takes a part of every batch.

        Args:
            batch_size: Rows of a batch over all processes.
            part: Which of its places are this process's.
        """
        own = copy.copy(self)
        own._batch, own._part = batch_size, part
        return own

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker, workers = this_worker()
        order = OrderCheck("The rows drawn for training", self.data.label_names)
        place = 0
        for around in count():
            make = RowMaker(self.data, "train", self.inputs, skip=self.skip)
            for row, given in self._drawn(around):
                batch, position = divmod(place, self._batch)
                place += 1
                order.see(given[self.data.label_column])
                if position not in self._part or batch % workers != worker:
                    continue
                made = make(given, row)
                if made is not None:
                    yield self._changed(made)
            if make.seen:
                make.tell()

    def _drawn(self, around: int) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """One pass: place in the split and raw row."""
        numbered = islice(enumerate(self.data.rows("train")), self.held, None)
        drawn = shuffled(numbered, self.buffer, np.random.default_rng([self.seed, around]))
        first = next(drawn, None)
        if first is None:
            raise DataError(
                f"{self.data.name} has no row to train on beside the first {self.held} of train, which are held out. "
                "Hold fewer out."
            )
        yield first
        yield from drawn

    def _changed(self, row: dict[str, Any]) -> dict[str, Any]:
        if self.change is None:
            return row
        (name,) = row.keys() - {"labels"}
        return {**row, name: self.change(row[name])}


def shuffled(rows: Iterable[Any], buffer: int, draw: np.random.Generator) -> Iterator[Any]:
    """Rows in an order drawn within a buffer: each that comes takes the place of one that goes."""
    held: list[Any] = []
    for row in rows:
        if len(held) < buffer:
            held.append(row)
            continue
        place = int(draw.integers(buffer))
        yield held[place]
        held[place] = row
    for place in draw.permutation(len(held)):
        yield held[place]
