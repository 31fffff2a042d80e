"""BatchNorm statistics gathered anew, for weights with which no batch was normalised."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from hf_transfer_kit.backbones.seeded_eval_mode import seeded_eval_mode
from hf_transfer_kit.backbones.taken_batches import misfits_told
from hf_transfer_kit.data.collating import on_device
from hf_transfer_kit.features.layer_output import accepted_inputs
from hf_transfer_kit.values.rows import MapRows, collated, evenly_spread


@torch.no_grad()
def gather_statistics(model: nn.Module, norms: Sequence[Any], batches: Iterable[Mapping[str, Any]]) -> None:
    """Replaces the running statistics of ``norms`` by their mean over batches, each with equal weight, in place.

    All else runs as in evaluation; modes and random state stay as they were.

    Args:
        model: Without wrappers.
        norms: Its BatchNorms, at least one.
        batches: What is read, at least one.
    """
    momenta = [norm.momentum for norm in norms]
    with seeded_eval_mode(model, seed=0):
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum, norm.training = None, True  # None: the mean over all batches
        try:
            for batch in batches:
                inputs = accepted_inputs(model, on_device(batch, norms[0].running_mean.device), without=())
                with misfits_told(model, batch):
                    model(**inputs) if isinstance(inputs, dict) else model(*inputs)
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum


def even_batches(size: int, batch_size: int, max_rows: int | None) -> list[list[int]]:
    """Indices of rows, evenly spread, in batches that may weigh alike: a small last one is left out.

    Args:
        size: How many rows there are.
        batch_size: Rows in a batch.
        max_rows: How many rows at most; None takes all.
    """
    chosen = evenly_spread(size, max_rows)
    if len(chosen) > batch_size and 0 < len(chosen) % batch_size < max(batch_size // 2, 2):
        chosen = chosen[: -(len(chosen) % batch_size)]
    return [chosen[start : start + batch_size] for start in range(0, len(chosen), batch_size)]


def batches_of(
    rows: MapRows, collate: Callable[[list[Any]], Mapping[str, Any]], *, batch_size: int, max_rows: int | None
) -> Iterator[Mapping[str, Any]]:
    """Batches of rows, evenly spread.

    Args:
        rows: Map-style dataset.
        collate: Rows -> batch.
        batch_size: As in ``even_batches``, like the next.
        max_rows: How many rows at most.
    """
    for places in even_batches(len(rows), batch_size, max_rows):
        yield collated(collate, [rows[place] for place in places], of=rows)
