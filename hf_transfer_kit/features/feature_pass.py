"""One pass of a network over a dataset: which rows are stored, and what they hold."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hf_transfer_kit.data.collating import on_device
from hf_transfer_kit.errors import DataError
from hf_transfer_kit.features.cached_features import FEATURES
from hf_transfer_kit.features.layer_output import LayerOutput
from hf_transfer_kit.features.shards import Column


class FeaturePass:
    """Batches [j * batch_size, (j + 1) * batch_size) of a dataset, and the features of each.

    Args:
        dataset: With a length and indices.
        collate: Rows -> batch.
        batch_size: Rows a batch; the last one may be smaller.
        keep_columns: Columns of the batch that are stored beside the features.
        device: Where the network is.
    """

    def __init__(
        self,
        dataset: Any,
        collate: Callable[[list], Mapping[str, Any]],
        *,
        batch_size: int,
        keep_columns: Sequence[str],
        device: torch.device,
    ) -> None:
        self.dataset = dataset
        self.collate = collate
        self.total = len(dataset)
        self.batch_size = batch_size
        self.keep_columns = keep_columns
        self.device = device
        self.has_positions = False
        self._declared: list[Column] = []
        self._first: dict[str, Tensor | Sequence[Tensor]] | None = None

    def batch(self, start: int) -> dict[str, Any]:
        """The collated batch that begins at a row.

        Raises:
            DataError: When the dataset has another length by now, or the collator returns other rows.
        """
        indices = list(range(start, min(start + self.batch_size, self.total)))
        self._check_length()
        # Seeded by place: a random transform draws the same whichever process comes to this batch, and when.
        torch.manual_seed(start)
        random.seed(start)
        np.random.seed(start % 2**32)
        try:
            many = getattr(self.dataset, "__getitems__", None)
            rows = many(indices) if many is not None else [self.dataset[index] for index in indices]
        except IndexError as error:
            raise self._changed(f"row {indices[-1]} cannot be read") from error
        self._check_length()
        return on_device(self.collate(rows), self.device)

    def columns(self, output: LayerOutput, dtype: str) -> list[Column]:
        """What a row of the store holds, told by the first batch."""
        batch = self.batch(0)
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
        parts = [self._part(output, first) for first in range(start, stop, self.batch_size)]
        return {name: _joined([part[name] for part in parts]) for name in self._names()}

    def _part(self, output: LayerOutput, start: int) -> dict[str, Tensor | Sequence[Tensor]]:
        if start == 0 and self._first is not None:
            first, self._first = self._first, None
            return first
        batch = self.batch(start)
        found, _ = output(batch)
        return self._stored(found, {name: batch.get(name) for name in self._names()[1:]}, start)

    def _stored(self, found: Tensor | Sequence[Tensor], kept: Mapping[str, Any], start: int) -> dict[str, Any]:
        """Features in the dtype of the store, and kept columns, on the CPU."""
        expected = min(self.batch_size, self.total - start)
        for name, values in {FEATURES: found, **kept}.items():
            if not hasattr(values, "__len__") or len(values) != expected:
                what = "nothing" if not hasattr(values, "__len__") else f"{len(values)} rows"
                raise DataError(
                    f"The collator gave {what} under {name!r} for the {expected} rows from row {start} on; it must "
                    "give one row for each."
                )
        self._check_shapes({FEATURES: found, **kept}, start)
        dtype = getattr(torch, self._declared[0].dtype)
        if isinstance(found, Tensor):
            features = _narrowed(found, dtype, start)
        else:
            features = [_narrowed(row, dtype, start + index) for index, row in enumerate(found)]
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

    def _check_length(self) -> None:
        if (now := len(self.dataset)) != self.total:
            raise self._changed(f"it has {now} rows now")

    def _changed(self, finding: str) -> DataError:
        return DataError(
            f"The dataset had {self.total} rows when caching began, but {finding}. Its length must not change "
            "meanwhile; nothing that looks complete was written."
        )


def _joined(parts: list[Tensor | Sequence[Tensor]]) -> Tensor | list[Tensor]:
    """Tensors end to end where all are one a batch, else the rows of all."""
    if all(isinstance(part, Tensor) for part in parts):
        return torch.cat(parts)
    return [row for part in parts for row in part]


def _narrowed(features: Tensor, dtype: torch.dtype, start: int) -> Tensor:
    """Features on the CPU in ``dtype``.

    Raises:
        DataError: When a finite value becomes infinite.
    """
    narrowed = features.to(device="cpu", dtype=dtype)
    if dtype is torch.float16 and (narrowed.isinf() & features.cpu().isfinite()).any():
        raise DataError(
            f"Features from row {start} on reach {features.abs().max().item():.3g}, beyond the largest float16, 65504. "
            "Use dtype='bfloat16' or 'float32'."
        )
    return narrowed
