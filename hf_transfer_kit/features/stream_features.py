"""Features of a stream: one pass, of which a batch is held at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor, nn

from hf_transfer_kit.backbones.seeded_eval_mode import seeded_eval_mode
from hf_transfer_kit.backbones.splitting.sample import usual_device
from hf_transfer_kit.backbones.unwrapping import plain_model
from hf_transfer_kit.errors import DataError
from hf_transfer_kit.features.cache_features import check_settings, hooked
from hf_transfer_kit.features.feature_pass import FeaturePass
from hf_transfer_kit.features.fixed_batches import checked_batch
from hf_transfer_kit.features.layer_output import find_tap
from hf_transfer_kit.features.shards import Column, shard_batch


class StreamedBatches:
    """The batches of a stream in their order, each read when it is asked for; one is held.

    Args:
        rows: The stream.
        collate: Rows -> batch.
        batch_size: Rows a batch; the last one may be smaller.
        device: Where the network is.
    """

    def __init__(
        self,
        rows: Iterable[Any],
        collate: Callable[[list], Mapping[str, Any]],
        *,
        batch_size: int,
        device: torch.device,
    ) -> None:
        self.collate, self.batch_size, self.device = collate, batch_size, device
        self._rows = iter(rows)
        self._start, self._held = 0, list(islice(self._rows, batch_size))

    def rows_at(self, start: int) -> int:
        """Rows of the batch that begins at a place, the one that is held or the next; 0 behind the end."""
        if start != self._start:
            self._held = []  # so that those that were read go before others come
            self._start, self._held = start, list(islice(self._rows, self.batch_size))
        return len(self._held)

    def __call__(self, start: int) -> dict[str, Tensor]:
        """The tensors of the batch that is held, on the network's device."""
        return checked_batch(self.collate, self._held, self.device, of=self._rows)


def stream_features(
    model: nn.Module,
    rows: Iterable[Any],
    *,
    layer: str | int = "pooled",
    pooling: str | None = None,
    collator: Callable[[list], Mapping[str, Any]],
    batch_size: int = 32,
    dtype: str = "float32",
    keep_columns: tuple[str, ...] = ("labels",),
) -> Iterator[tuple[Sequence[Column], pa.RecordBatch]]:
    """What ``cache_features`` stores of the same rows, batch by batch: its columns, and rows as its files hold them.

    While it lasts the network is in evaluation mode; afterwards it is as it was, also when not all is asked for.

    Args:
        model: As in ``cache_features``.
        rows: Iterable of rows as Trainer reads them, gone through once.
        layer: As in ``cache_features``.
        pooling: Likewise.
        collator: Rows -> batch.
        batch_size: Rows of a forward, 1 or more.
        dtype: On disk; Arrow has no ``"bfloat16"``, which is stored as the numbers it is made of.
        keep_columns: Columns of the collated batch to keep beside the features.

    Raises:
        SettingsError: When an argument is out of range or names no layer.
        ModelError: When the model has no weights, lies on several devices, or the layer gives no row for each row.
        DataError: When the stream is empty, does not fit the model, or holds values too large for ``dtype``.
    """
    check_settings(pooling, batch_size, dtype, keep_columns)
    network, _ = plain_model(model)
    batches = StreamedBatches(rows, collator, batch_size=batch_size, device=usual_device(network))
    if not batches.rows_at(0):
        raise DataError("The stream has no rows. Check its split and its filters.")
    features = FeaturePass(batches, keep_columns=keep_columns)
    with seeded_eval_mode(network, seed=0):
        tap = find_tap(network, layer, example_inputs=lambda: batches(0))
        with hooked(network, tap, pooling, keep_columns) as output:
            columns = features.columns(output, dtype)
            start = 0
            while count := batches.rows_at(start):
                yield columns, shard_batch(columns, features.compute(output, start, start + count), count)
                start += batch_size
