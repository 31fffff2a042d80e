"""One pass of a network over a dataset: which rows are stored, and what they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from hf_transfer_kit.errors import DataError
from hf_transfer_kit.features.cached_features import FEATURES
from hf_transfer_kit.features.layer_output import LayerOutput
from hf_transfer_kit.features.precision import narrowed
from hf_transfer_kit.features.shards import Column


class Batches(Protocol):
    """The batches of a dataset, known by the place where each begins."""

    batch_size: int

    def __call__(self, start: int) -> dict[str, Tensor]:
        """The tensors of one."""


class FeaturePass:
    """The features of each batch of a dataset.

    Args:
        batches: The batches.
        keep_columns: Columns of the batch that are stored beside the features.
    """

    def __init__(self, batches: Batches, *, keep_columns: Sequence[str]) -> None:
        self.batches = batches
        self.keep_columns = keep_columns
        self.has_positions = False
        self._declared: list[Column] = []
        self._first: dict[str, Tensor | Sequence[Tensor]] | None = None

    def columns(self, output: LayerOutput, dtype: str) -> list[Column]:
        """What a row of the store holds, told by the first batch."""
        batch = self.batches(0)
        found, self.has_positions = output(batch)
        kept = {name: batch[name] for name in self._kept(batch)}
        shape = tuple(found.shape[1:]) if isinstance(found, Tensor) else (None, found[0].shape[-1])
        self._declared = [Column(FEATURES, dtype, shape)]
        for name, values in kept.items():
            self._declared.append(Column(name, str(values.dtype).removeprefix("torch."), tuple(values.shape[1:])))
        self._first = self._stored(found, kept, 0)
        return self._declared

    def compute(self, output: LayerOutput, start: int, stop: int) -> dict[str, Tensor | Sequence[Tensor]]:
        """Rows ``start`` to ``stop - 1`` of every column; ``start`` begins a batch."""
        parts = [self._part(output, first) for first in range(start, stop, self.batches.batch_size)]
        return {name: _joined([part[name] for part in parts]) for name in self._names()}

    def _part(self, output: LayerOutput, start: int) -> dict[str, Tensor | Sequence[Tensor]]:
        if start == 0 and self._first is not None:
            first, self._first = self._first, None
            return first
        batch = self.batches(start)
        found, _ = output(batch)
        return self._stored(found, {name: batch[name] for name in self._kept(batch)}, start)

    def _stored(self, found: Tensor | Sequence[Tensor], kept: Mapping[str, Tensor], start: int) -> dict[str, Any]:
        """Features in the dtype of the store, and kept columns, on the CPU."""
        self._check_shapes({FEATURES: found, **kept}, start)
        dtype = self._declared[0].dtype
        features: Tensor | list[Tensor]
        if isinstance(found, Tensor):
            features = narrowed(found, dtype, start)
        else:
            features = [narrowed(row, dtype, start + index) for index, row in enumerate(found)]
        return {FEATURES: features, **{name: values.cpu() for name, values in kept.items()}}

    def _kept(self, batch: Mapping[str, Any]) -> list[str]:
        names = [name for name in self.keep_columns if name in batch or name != "labels"]
        for name in names:
            if not isinstance(batch.get(name), Tensor):
                raise DataError(
                    f"keep_columns names {name!r}, but the collated batch holds {', '.join(map(str, batch))}, tensors "
                    "among them; name one of these."
                )
        return names

    def _check_shapes(self, found: Mapping[str, Any], start: int) -> None:
        for column in self._declared:
            values = found[column.name]
            if isinstance(values, Tensor) and not column.admits(values.shape[1:]):
                raise DataError(
                    f"{column.name!r} has the shape {tuple(values.shape[1:])} in row {start}, but {column.shape} in "
                    "row 0; all rows must have one. Give pooling='mean', or a collator that makes inputs of one size."
                )

    def _names(self) -> list[str]:
        return [column.name for column in self._declared]


def _joined(parts: list[Tensor | Sequence[Tensor]]) -> Tensor | list[Tensor]:
    """Tensors end to end where all are one a batch, else the rows of all."""
    tensors = [part for part in parts if isinstance(part, Tensor)]
    if len(tensors) == len(parts):
        return torch.cat(tensors)
    return [row for part in parts for row in part]
