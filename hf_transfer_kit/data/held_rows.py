"""Rows of a stream that are held: those that a run is chosen and judged by, a bounded number of each split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, Features, Value

from hf_transfer_kit.data.decoding import readable_rows
from hf_transfer_kit.data.labels import class_values, tell_counts
from hf_transfer_kit.data.loading import LoadedData
from hf_transfer_kit.data.row_choice import ROW
from hf_transfer_kit.data.streamed import StreamedData, fetched
from hf_transfer_kit.errors import DataError

SAMPLE = 1000
"""Training rows that are looked at beforehand, at most."""
_ENOUGH = 100
_LOOKED_AT = 1000
_SORTED = 0.25
"""Share of the changes of class that drawn rows would have, below which rows come in the order of their classes."""


class OrderCheck:
    """Refuses rows that come in the order of their classes.

    Args:
        whose: Which rows, to begin a sentence with.
        label_names: Names of the classes.
        rows: How many are looked at.
    """

    def __init__(self, whose: str, label_names: Sequence[str], *, rows: int = _LOOKED_AT) -> None:
        self.whose, self.label_names, self.rows = whose, label_names, rows
        self._counts: dict[Any, int] = {}
        self._seen = self._changes = 0
        self._last: Any = None

    def see(self, label: Any) -> None:
        """Looks at the next row's label.

        Raises:
            DataError: At the last of them, when classes change much more rarely than in any order that is drawn.
        """
        if self._seen >= self.rows:
            return
        self._changes += self._seen > 0 and label != self._last
        self._counts[label] = self._counts.get(label, 0) + 1
        self._last, self._seen = label, self._seen + 1
        if self._seen == self.rows:
            self.check()

    def check(self) -> None:
        """Looks back at the rows that were seen; too few tell nothing."""
        if self._seen < _ENOUGH:
            return
        shares = [count / self._seen for count in self._counts.values()]
        expected = (self._seen - 1) * (1 - sum(share**2 for share in shares))
        if len(shares) > 1 and self._changes >= _SORTED * expected:
            return
        found = (
            f"are all of one class of {len(self.label_names)}"
            if len(shares) == 1
            else f"change their class {self._changes} times, where {expected:.0f} are to be expected"
        )
        raise DataError(
            f"{self.whose} come in the order of their classes: the first {self._seen} {found}. Store them shuffled, or "
            "with splits of their own that are."
        )


def hold_rows(
    data: StreamedData, rows: Mapping[str, int], *, skip: bool = False
) -> tuple[LoadedData, int, tuple[str, ...]]:
    """What of a stream is loaded for a run: validation and test rows, and a few of those to train on.

    Args:
        data: The streams.
        rows: Of validation and of test how many to hold at most: the first of the split, or where it is missing the
            next at the beginning of ``train``.
        skip: Leave rows out that cannot be read.

    Returns:
        The loaded rows, ``train`` being a sample; how many rows of ``train`` are held out; and what is to be said of
        them, as sentences.

    Raises:
        DataError: When rows cannot be read, ``train`` has none beside those held out, or they come in the order of
            their classes.
    """
    train = enumerate(data.rows("train"))
    train = enumerate(data.rows("train"))
    held, notes, skipped, splits = 0, [], 0, {}
    for split, count in rows.items():
        of_split = split in data.splits
        source = enumerate(data.rows(split)) if of_split else train
        taken = list(islice(source, count))
        whole = of_split and next(source, None) is None
        held += 0 if of_split else len(taken)
        if not of_split and len(taken) < count:
            raise DataError(
                f"{data.name} has only {held} rows in train, of which {sum(rows.values())} were to be held out. Hold "
                "fewer out (--held_rows), or load it whole without --streaming."
            )
        origin = split if of_split else "train"
        if not whole:
            _check_order(data, origin, split, taken)
            notes.append(f"The {split} rows are {len(taken):,} at the beginning of {origin}, which is a stream.")
        splits[split], bad = _stored(data, origin, taken, skip=skip)
        skipped += bad
    sample = list(islice(train, SAMPLE))
    if not sample:
        raise DataError(f"{data.name} has no row to train on beside the {held} of train that are held out.")
    splits["train"], _ = _stored(data, "train", sample, skip=True)
    classes = {split: class_values(splits[split], data.label_column) for split in rows}
    # What is in training rows is known at the stream's end alone: every class is expected.
    tell_counts({**classes, "train": np.arange(len(data.label_names))}, data.label_names, labelled=True)
    loaded = LoadedData(
        name=data.name,
        modality=data.modality,
        input_columns=data.input_columns,
        label_column=data.label_column,
        label_names=data.label_names,
        skipped_rows=skipped,
        given_rows={split: tuple(splits[split][ROW]) for split in rows},
        streamed=True,
        **{split: stored.remove_columns(ROW) for split, stored in splits.items()},
    )
    return loaded, held, tuple(notes)


def _check_order(data: StreamedData, origin: str, split: str, taken: Sequence[tuple[int, Mapping[str, Any]]]) -> None:
    whose = f"The rows of {origin}" if origin == split else f"The rows of train that would be held out for {split}"
    check = OrderCheck(whose, data.label_names, rows=len(taken))
    for _, given in taken:
        check.see(given[data.label_column])


def _stored(
    data: StreamedData, origin: str, taken: Sequence[tuple[int, Mapping[str, Any]]], *, skip: bool
) -> tuple[Dataset, int]:
    """Rows as ``load_data`` stores them, with their places in ``ROW``, and how many could not be read."""
    features = Features(
        {
            **{column: data.splits[origin].features[column] for column in data.input_columns},
            data.label_column: ClassLabel(names=list(data.label_names)),
            ROW: Value("int64"),
        }
    )
    stored, total = Dataset.from_list(list(_rows(data, origin, taken)), features=features), 0
    for column in data.input_columns:
        stored, bad = readable_rows(stored, column, data.modality, split=origin, rows=stored[ROW], skip=skip)
        total += bad
    return stored, total


def _rows(data: StreamedData, origin: str, taken: Sequence[tuple[int, Mapping[str, Any]]]) -> Iterator[dict[str, Any]]:
    for row, given in taken:
        inputs = {column: fetched(given[column], origin, row) for column in data.input_columns}
        yield {**inputs, data.label_column: data.class_of(given[data.label_column], origin, row), ROW: row}
