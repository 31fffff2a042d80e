"""Batches at fixed places of a dataset, the same whoever computes them and when."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hf_transfer_kit.backbones.splitting.sample import checked_length, tensors_of
from hf_transfer_kit.errors import DataError
from hf_transfer_kit.values.rows import collated

_SHARDS = 16  # enough to share among processes and to lose little when killed ...
_SHARD_BYTES = 64 * 2**20  # ... unless files would become larger than this


class FixedBatches:
    """Rows of a dataset in batches [j * batch_size, (j + 1) * batch_size), seeded by their place.

    With several views the rows come once for each: row r of view v is at place v * len(dataset) + r, and a random
    transform draws anew.

    Args:
        dataset: With a length and indices.
        collate: Rows -> batch.
        batch_size: Rows a batch; the last one may be smaller.
        device: Where the network is.
        views: How often the dataset is gone through.

    Raises:
        DataError: When the dataset is a stream or empty.
    """

    def __init__(
        self,
        dataset: Any,
        collate: Callable[[list], Mapping[str, Any]],
        *,
        batch_size: int,
        device: torch.device,
        views: int = 1,
    ) -> None:
        self.dataset, self.collate, self.batch_size, self.device = dataset, collate, batch_size, device
        self.rows = checked_length(dataset)
        self.places = self.rows * views

    def __call__(self, start: int) -> dict[str, Tensor]:
        """The tensors of the batch that begins at a place, on the network's device.

        Raises:
            DataError: When the dataset has another length by now, or the collator returns other rows.
        """
        indices = [place % self.rows for place in range(start, min(start + self.batch_size, self.places))]
        self._check_length()
        torch.manual_seed(start)
        random.seed(start)
        np.random.seed(start % 2**32)
        try:
            many = getattr(self.dataset, "__getitems__", None)
            rows = many(indices) if many is not None else [self.dataset[index] for index in indices]
        except IndexError as error:
            raise self._changed(f"row {indices[-1]} cannot be read") from error
        self._check_length()
        return checked_batch(self.collate, rows, self.device, of=self.dataset)

    def per_shard(self, row_bytes: float) -> int:
        """Rows of a file: whole batches; the same for any number of processes."""
        batches = -(-self.places // self.batch_size)
        largest = max(int(_SHARD_BYTES // (max(row_bytes, 1) * self.batch_size)), 1)
        return self.batch_size * max(1, min(-(-batches // _SHARDS), largest))

    def _check_length(self) -> None:
        if (now := len(self.dataset)) != self.rows:
            raise self._changed(f"it has {now} rows now")

    def _changed(self, finding: str) -> DataError:
        return DataError(
            f"The dataset had {self.rows} rows when caching began, but {finding}. Its length must not change "
            "meanwhile; nothing that looks complete was written."
        )


def checked_batch(
    collate: Callable[[list], Mapping[str, Any]], rows: list[Any], device: torch.device, *, of: Any
) -> dict[str, Tensor]:
    """The tensors of a batch on a device.

    Args:
        collate: Rows -> batch.
        rows: The rows.
        device: Where the tensors go.
        of: The dataset, for the sentence.

    Raises:
        DataError: When the collator does not take the rows, or returns others.
    """
    batch = tensors_of(collated(collate, rows, of=of), device)
    for name, value in batch.items():
        if value.dim() == 0 or len(value) != len(rows):
            raise DataError(
                f"The collator gave a tensor of shape {tuple(value.shape)} under {name!r} for {len(rows)} rows; "
                "its first axis must be the rows."
            )
    return batch
