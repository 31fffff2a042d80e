"""What a frozen network says of rows, and rows that carry further labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset as TorchDataset

from hf_transfer_kit.backbones.seeded_eval_mode import seeded_eval_mode
from hf_transfer_kit.data.collating import on_device
from hf_transfer_kit.errors import DataError
from hf_transfer_kit.tuning.all_rows import Part
from hf_transfer_kit.values import MapRows

Rows = MapRows


class WithLabels(TorchDataset):
    """Rows with further columns, such as labels for several tasks.

    Args:
        dataset: Map-style dataset of rows.
        columns: Column -> value of each row; one that the rows have already is replaced.
        rows: Which rows, in this order; None is all.

    Raises:
        DataError: When a column has more or fewer values than there are rows.

    Example:
        >>> rows = WithLabels(train, {"bright": [True] * 12})
        >>> rows[0]["bright"], rows[0]["labels"]
        (True, 0)
    """

    def __init__(self, dataset: Any, columns: Mapping[str, Sequence[Any]], rows: Sequence[int] | None = None) -> None:
        for name, values in columns.items():
            if len(values) != len(dataset):
                raise DataError(f"{name} has {len(values)} values for {len(dataset)} rows. Give one for each.")
        self.dataset = dataset
        self.columns = columns
        self.rows = rows

    def __len__(self) -> int:
        return len(self.dataset) if self.rows is None else len(self.rows)

    def __getitem__(self, row: int) -> dict[str, Any]:
        row = row if self.rows is None else self.rows[row]
        return {**self.dataset[row], **{name: values[row] for name, values in self.columns.items()}}


def record_logits(
    model: nn.Module,
    dataset: Rows,
    collator: Callable[[list[Mapping[str, Any]]], Mapping[str, Any]],
    *,
    task: str | None = None,
    batch_size: int = 64,
    together: bool = False,
) -> np.ndarray:
    """What a network says of each row now, to be held to it later without its own data (Li & Hoiem 2018).

    Args:
        model: A classifier, or a ``MultiTaskModel``; it stays as it is.
        dataset: Map-style; labels in its rows are not read.
        collator: Rows -> batch, by the network's own names.
        task: Which task of a ``MultiTaskModel``.
        batch_size: Rows at once.
        together: Whether all processes call it, so that each reads a part; all get everything.

    Returns:
        Logits, float32 of shape (N, C), in the order of the rows.

    Example:
        >>> record_logits(model, train, collator).shape
        (12, 3)
    """
    device = next(model.parameters()).device
    more = {} if task is None else {"task": task}
    found, part = [], Part(len(dataset), together=together)
    with torch.no_grad(), seeded_eval_mode(model, seed=0):
        for places in part.batches(batch_size):
            batch = dict(on_device(collator([dataset[row] for row in places]), device))
            batch.pop("labels", None)
            found.append(model(**batch, **more).logits.float())
    return part.whole(torch.cat(found)).cpu().numpy()
