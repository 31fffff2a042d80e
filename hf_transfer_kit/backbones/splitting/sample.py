"""A few rows of the data as the model reads them: what a split is found and checked on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hf_transfer_kit.errors import DataError, ModelError
from hf_transfer_kit.values.rows import check_map_rows, collated

MASK = "attention_mask"
_SPREAD = 3


@dataclass(frozen=True)
class Sample:
    """Rows as batches of tensors.

    Args:
        rows: Which rows of the dataset, at least two (the first twice where there is one only).
        batch: All of them.
        alone: The first of them, collated without the others: padded less, where rows differ in length.
    """

    rows: tuple[int, ...]
    batch: Mapping[str, Tensor]
    alone: Mapping[str, Tensor]

    @property
    def first(self) -> dict[str, Tensor]:
        """The first row as it stands in the batch, padding included."""
        return {name: value[:1] for name, value in self.batch.items()}

    @property
    def shorter(self) -> dict[str, Tensor] | None:
        """The batch without its first token; None where the inputs are no texts with a mask."""
        if not self.has_tokens:
            return None
        length = self.batch[MASK].shape[1]
        return {name: value[:, 1:] if _has_length(value, length) else value for name, value in self.batch.items()}

    @property
    def has_tokens(self) -> bool:
        """Whether the inputs are whole numbers of shape (B, T) with a mask, and can be made shorter."""
        inputs = [value for name, value in self.batch.items() if "label" not in name]
        mask = self.batch.get(MASK)
        whole = not any(value.is_floating_point() for value in inputs)
        return mask is not None and mask.dim() == 2 and mask.shape[1] > 1 and whole

    @property
    def is_variable(self) -> bool:
        """Whether rows of this kind can differ in shape: texts and sounds can, pictures of one batch cannot."""
        named = {"input_ids", "input_values", "input_features", MASK}
        return bool(named & set(self.batch))


def make_sample(dataset: Any, collate: Callable[[list], Mapping[str, Any]], device: torch.device) -> Sample:
    """The first, the middle and the last row, on ``device``.

    Raises:
        DataError: When the dataset is a stream or empty, or the collator makes no batch with tensors of its rows.
    """
    size = checked_length(dataset)
    chosen = sorted({0, size // 2, size - 1})[:_SPREAD]
    chosen = chosen if len(chosen) > 1 else [0, 0]
    rows = [dataset[index] for index in chosen]
    batch, alone = (tensors_of(collated(collate, part, of=dataset), device) for part in (rows, rows[:1]))
    return Sample(tuple(chosen), batch, alone)


def checked_length(dataset: Any) -> int:
    """Number of rows.

    Raises:
        DataError: When the dataset is a stream, empty, or no rows at all.
    """
    check_map_rows(dataset)
    if len(dataset) == 0:
        raise DataError("The dataset has no rows; there is nothing to compute. Check the split and its filters.")
    return len(dataset)


def tensors_of(batch: Mapping[str, Any], device: torch.device) -> dict[str, Tensor]:
    """The tensors of a batch on ``device``.

    Raises:
        DataError: When there is none.
    """
    found = {name: value.to(device) for name, value in batch.items() if isinstance(value, Tensor)}
    if not found:
        raise DataError(
            f"The collator gave no tensors but {', '.join(f'{k}: {type(v).__name__}' for k, v in batch.items())}. Give "
            "the collator that Trainer gets, so that a list of rows becomes a batch of tensors."
        )
    return found


def own_lengths(mask: Tensor) -> list[tuple[int, int]]:
    """First and one past the last position that each row's mask, of shape (B, T), lets through."""
    kept = mask != 0
    lengths = []
    for row in kept:
        places = row.nonzero().flatten()
        lengths.append((int(places[0]), int(places[-1]) + 1) if len(places) else (0, 1))
    return lengths


def _has_length(value: Tensor, length: int) -> bool:
    return value.dim() >= 2 and value.shape[1] == length


def usual_device(model: nn.Module) -> torch.device:
    """The one device that all weights and buffers of a model are on.

    Raises:
        ModelError: When they are on several, or on the meta device.
    """
    tensors = [*model.parameters(), *model.buffers()]
    devices = sorted({str(tensor.device) for tensor in tensors}) or ["cpu"]
    if len(devices) > 1 or devices == ["meta"]:
        what = "the meta device, without values" if devices == ["meta"] else f"several devices ({', '.join(devices)})"
        raise ModelError(
            f"The weights of {type(model).__name__} are on {what}; move the model to one device with model.to(device)."
        )
    return torch.device(devices[0])
