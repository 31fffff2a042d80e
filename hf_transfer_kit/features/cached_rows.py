"""Cached rows as a dataset for Trainer, and the collator that makes batches of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from hf_transfer_kit.backbones.splitting import Split
from hf_transfer_kit.backbones.splitting.replay import SHAPES, cached_key
from hf_transfer_kit.backbones.splitting.sample import MASK
from hf_transfer_kit.features.boundary_pass import CARRIED, shapes_column
from hf_transfer_kit.features.store import Store


class CachedRows(Dataset):
    """Rows of one dataset as they stand at the cut of a network; read from disk in place.

    Of several views one is drawn at random each time a row is asked for.

    Args:
        store: Where they are.
        split: The cut.
        views: How many versions of each row the store holds.
    """

    def __init__(self, store: Store, split: Split, *, views: int = 1) -> None:
        self.store, self.views = store, views
        columns = {shape.name: cached_key(index) for index, shape in enumerate(split.live)}
        columns.update({f"{CARRIED}{shape.name}": shape.name for shape in split.carried})
        if split.is_variable:
            columns[shapes_column(split.depth)] = SHAPES
        self.columns = columns

    def __len__(self) -> int:
        return len(self.store) // self.views

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        return self.__getitems__([row % len(self)])[0]

    def __getitems__(self, rows: Sequence[int]) -> list[dict[str, Tensor]]:
        places = list(rows)
        if self.views > 1:
            drawn = torch.randint(self.views, (len(places),)).tolist()
            places = [view * len(self) + row for view, row in zip(drawn, places, strict=True)]
        found = self.store.gather(places, list(self.columns))
        return [{key: found[column][index] for column, key in self.columns.items()} for index in range(len(places))]


@dataclass(frozen=True)
class CachedCollator:
    """Cached rows into a batch: stacked, or padded to the longest of the batch.

    Args:
        padding: Name of an input -> what it is padded with; cached tensors are padded with zeros.
        left: Whether padding comes first.
        time_axes: Key -> axes of a row that are padded on that side; other axes are padded at their end.
    """

    padding: Mapping[str, int]
    left: bool
    time_axes: Mapping[str, tuple[int, ...]]

    def __call__(self, rows: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        return {key: self._batch(key, [row[key] for row in rows]) for key in rows[0]}

    def _batch(self, key: str, values: list[Tensor]) -> Tensor:
        if all(value.shape == values[0].shape for value in values):
            return torch.stack(values)
        longest = torch.tensor([value.shape for value in values]).amax(dim=0).tolist()
        padded = values[0].new_full((len(values), *longest), self.padding.get(key, 0))
        for row, value in zip(padded, values, strict=True):
            for axis, length in enumerate(value.shape):
                first = longest[axis] - length if self.left and axis in self.time_axes.get(key, ()) else 0
                row = row.narrow(axis, first, length)
            row.copy_(value)
        return padded


def make_collator(split: Split, model: Any, batch: Mapping[str, Tensor]) -> CachedCollator:
    """The collator for rows of a split.

    Args:
        split: The cut.
        model: Its config says what tokens are padded with.
        batch: A batch of the ordinary collator: its mask says on which side.
    """
    config = getattr(model, "config", None)
    padding = dict.fromkeys(("input_ids", "decoder_input_ids"), getattr(config, "pad_token_id", None) or 0)
    padding.update({shape.name: -100 for shape in split.carried if "label" in shape.name and shape.row})
    mask = batch.get(MASK)
    left = mask is not None and mask.dim() == 2 and bool((mask[:, 0] == 0).any())
    axes = {cached_key(index): shape.stored_time_axes for index, shape in enumerate(split.live)}
    axes.update({shape.name: shape.time_axes for shape in split.carried})
    return CachedCollator(padding, left, axes)
