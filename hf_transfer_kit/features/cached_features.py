"""Features read from disk: a dataset for Trainer, arrays for scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import datasets
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from hf_transfer_kit.errors import DataError
from hf_transfer_kit.features.store import Store

FEATURES = "features"


class CachedFeatures(Dataset):
    """Rows of features that were computed once; memory-mapped, so that only what is asked for is read.

    A map-style dataset of ``{"features": tensor (D,), "labels": int, ...}``: Trainer trains a head on it, with its own
    collator.

    Args:
        store: What ``cache_features`` wrote.
        seconds: How long computing took; 0.0 where the cache was there already.

    Example:
        >>> cached = cache_features(model, train, collator=collator, cache_dir="cache", progress=False)
        >>> type(cached) is CachedFeatures, cached.features.shape, cached[0]["labels"]
        (True, (12, 16), 0)
    """

    def __init__(self, store: Store, *, seconds: float = 0.0) -> None:
        self.store = store
        self.seconds = seconds

    @property
    def dataset(self) -> datasets.Dataset:
        """The stored table itself, memory-mapped."""
        return self.store.dataset

    @property
    def features(self) -> np.ndarray:
        """All features in memory, of shape (rows, D) or (rows, ...); bfloat16 comes as float32.

        Raises:
            DataError: When rows differ in shape; ``batch`` reads those.
        """
        found = self.batch(range(len(self)))[FEATURES]
        if not isinstance(found, Tensor):
            raise DataError(
                "Features with all their positions differ in shape from row to row, so they are no array. Read them "
                "with batch(rows), or cache them with pooling='mean'."
            )
        return (found.float() if found.dtype is torch.bfloat16 else found).numpy()

    @property
    def labels(self) -> np.ndarray:
        """Class of each row, of shape (rows,).

        Raises:
            DataError: When none were kept.
        """
        if "labels" not in {column.name for column in self.store.columns}:
            raise DataError("These features were cached without labels: the collated batches held none.")
        return cast(Tensor, self.store.gather(range(len(self)), ["labels"])["labels"]).numpy()

    def batch(self, rows: Sequence[int] | np.ndarray) -> dict[str, Tensor | list[Tensor]]:
        """The given rows of every column, as tensors of shape (n, ...) that may be written to."""
        return self.store.gather(rows)

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return self.__getitems__([row])[0]

    def __getitems__(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        columns = {name: _listed(values) for name, values in self.batch(rows).items()}
        return [{name: values[index] for name, values in columns.items()} for index in range(len(rows))]

    def __repr__(self) -> str:
        return f"CachedFeatures({self.store!r})"


def _listed(values: Tensor | list[Tensor]) -> list[Any]:
    """Numbers as Python's own, longer rows as tensors."""
    return values.tolist() if isinstance(values, torch.Tensor) and values.dim() == 1 else list(values)
