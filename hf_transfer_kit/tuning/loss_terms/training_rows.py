"""Rows of the training data outside the order in which training takes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset

from hf_transfer_kit.backbones.seeded_eval_mode import preserved_random_state
from hf_transfer_kit.data.collating import on_device
from hf_transfer_kit.errors import DataError
from hf_transfer_kit.values.rows import collated


def spread_rows(train_dataloader: DataLoader, owner: str, limit: int | None = None) -> Sequence[int]:
    """Indices of at most ``limit`` rows, spread evenly over the training data (sorted data would give one class).

    Raises:
        DataError: When the data is a stream.
    """
    dataset = train_dataloader.dataset
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
        raise DataError(
            f"{owner} looks at rows of the training data before the first step, and a {type(dataset).__name__} is a "
            "stream that would lose them. Use a dataset with a length."
        )
    size = len(dataset)
    count = size if limit is None else min(limit, size)
    return [index * size // count for index in range(count)]


def batches(
    train_dataloader: DataLoader, indices: Sequence[int], *, batch_size: int, device: torch.device
) -> Iterator[dict[str, Any]]:
    """Batches of the given rows in order, made by the training's own collator, on ``device``.

    The training's own random numbers and place in the data stay as they are, also when rows are augmented at random.
    """
    dataset, collate = train_dataloader.dataset, train_dataloader.collate_fn
    for start in range(0, len(indices), batch_size):
        with preserved_random_state():
            batch = collated(collate, [dataset[index] for index in indices[start : start + batch_size]], of=dataset)
        yield on_device(batch, device)


def class_labels(batch: Mapping[str, Any], owner: str) -> torch.Tensor:
    """Labels of a batch as one class index a row, of shape (B,).

    Raises:
        DataError: When the batch has none, or they are no class indices.
    """
    labels = batch.get("labels")
    if not isinstance(labels, torch.Tensor) or labels.dim() != 1 or labels.is_floating_point():
        found = "no labels" if labels is None else f"labels of shape {tuple(getattr(labels, 'shape', ()))}"
        dtype = f" and type {labels.dtype}" if isinstance(labels, torch.Tensor) else ""
        raise DataError(f"{owner} needs one class index a row under 'labels'; the batch has {found}{dtype}.")
    return labels
