"""Map-style datasets that the Trainer reads: rows held in memory, or decoded when asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from hf_transfer_kit.data.contents import contents_hash
from hf_transfer_kit.data.decoding import by_batch
from hf_transfer_kit.values import LabelledRows, MapRows


class Rows(TorchDataset):
    """Inputs and classes by row.

    Args:
        values: Row -> input: a sequence, or something that decodes when a row is asked for.
        classes: Class of each row, of shape (rows,), or its label of another kind; None for rows without labels.
        name: Key of the input in a row; None when the values are dictionaries already.
        change: Applied to the input each time it is asked for, such as augmentation.
    """

    def __init__(
        self,
        values: MapRows,
        classes: np.ndarray | Sequence[Any] | None,
        name: str | None,
        *,
        change: Callable[[Any], Any] | None = None,
    ) -> None:
        self.values = values
        self.classes = classes
        self.name = name
        self.change = change

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, row: int) -> dict[str, Any]:
        value = self.values[row]
        if self.change is not None:
            value = self.change(value)
        inputs = value if self.name is None else {self.name: value}
        return dict(inputs) if self.classes is None else {**inputs, "labels": self.label(row)}

    def label(self, row: int) -> Any:
        """A row's label, without its input: a class index, a number or a list."""
        label = cast(Sequence[Any], self.classes)[row]
        return label.item() if isinstance(label, np.generic) else label

    def fingerprint(self) -> str:
        """32 hexadecimal digits that change with any input, class or change made to the inputs."""
        return contents_hash(["rows", self.values, self.classes, self.name, self.change])


class SomeRows(TorchDataset):
    """Some of a dataset's rows, each as often as it is named; labels are had without the inputs.

    Args:
        rows: Map-style dataset.
        places: Which of its rows, in this order.
    """

    def __init__(self, rows: LabelledRows, places: Sequence[int] | np.ndarray) -> None:
        self.rows = rows
        self.places = np.asarray(places, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, row: int) -> Any:
        return self.rows[int(self.places[row])]

    @property
    def classes(self) -> np.ndarray:
        """Class of each row, of shape (rows,)."""
        return np.asarray(self.rows.classes)[self.places]

    def label(self, row: int) -> Any:
        """A row's label, without its input."""
        return self.rows.label(int(self.places[row]))


class Lazily(Sequence[Any]):
    """A column decoded row by row, for data too large to hold.

    Args:
        column: Row -> stored value.
        decode: Stored value -> input.
    """

    def __init__(self, column: Sequence[Any], decode: Callable[[Any], Any]) -> None:
        self.column = column
        self.decode = decode

    def __len__(self) -> int:
        return len(self.column)

    def __getitem__(self, row: Any) -> Any:
        return self.decode(self.column[row])

    def fingerprint(self) -> str:
        """32 hexadecimal digits that change with any stored value, or with what decodes them; nothing is decoded."""
        return contents_hash(["lazily", self.column, self.decode])


def held_or_lazy(
    column: Sequence[Any], decode: Callable[[Any], Tensor], *, row_bytes: int, memory_limit: int
) -> Tensor | Lazily:
    """All rows decoded into one tensor where ``memory_limit`` bytes hold them, else a view that decodes on demand."""
    if len(column) * row_bytes > memory_limit:
        return Lazily(column, decode)
    first = decode(column[0])
    held = torch.empty((len(column), *first.shape), dtype=first.dtype)
    for row, value in enumerate(by_batch(column)):
        held[row] = decode(value)
    return held
