"""One pass of a network over a dataset that stores what crosses one or several cuts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from hf_transfer_kit.backbones.layer_groups import layer_groups
from hf_transfer_kit.backbones.splitting import CallRecorder, Split, TensorShape, unit_modules
from hf_transfer_kit.backbones.splitting.planning import dead_lengths
from hf_transfer_kit.backbones.splitting.sample import MASK, own_lengths
from hf_transfer_kit.backbones.taken_batches import misfits_told
from hf_transfer_kit.errors import DataError
from hf_transfer_kit.features.fixed_batches import FixedBatches
from hf_transfer_kit.features.precision import narrowed
from hf_transfer_kit.features.shards import Column

CARRIED = "carried:"


def shapes_column(depth: int) -> str:
    """Name of the column that holds the lengths of a split's dead tensors."""
    return f"shapes:{depth}"


def stored_dtype(shape: TensorShape, dtype: str) -> str:
    """What a tensor is stored as: float32 becomes ``dtype``, everything else stays."""
    name = str(shape.dtype).removeprefix("torch.")
    return dtype if name == "float32" else name


class BoundaryPass:
    """Computes, batch by batch, all columns of the given splits.

    Args:
        model: The model, in evaluation mode.
        splits: Cuts of this model; what several of them keep is stored once.
        batches: The dataset.
        dtype: What float32 tensors of the network are stored as.
    """

    def __init__(self, model: nn.Module, splits: Sequence[Split], batches: FixedBatches, *, dtype: str) -> None:
        self.model, self.splits, self.batches, self.dtype = model, splits, batches, dtype
        first = splits[0]
        self.live = {shape.name: shape for split in splits for shape in split.live}
        self.carried = {shape.name: shape for shape in first.carried}
        self.is_variable, self.trims = first.is_variable, first.trims
        dead = {shape.name: shape for split in splits for shape in split.dead}
        # Of dead tensors only the shapes are wanted, and those only where they differ from row to row.
        self.wanted = {n: s for n, s in {**self.live, **(dead if self.is_variable else {})}.items() if "/" in n}
        groups = layer_groups(model)
        last = max(split.depth for split in splits)
        self._entered = {name: model.get_submodule(name) for split in splits for name in split.entered}
        self._units = unit_modules(groups[:last])

    def columns(self) -> list[Column]:
        """What a row of the store holds."""
        found = [Column(name, stored_dtype(shape, self.dtype), self._row(shape)) for name, shape in self.live.items()]
        for name, shape in self.carried.items():
            found.append(Column(f"{CARRIED}{name}", str(shape.dtype).removeprefix("torch."), self._row(shape)))
        if self.is_variable:
            for split in self.splits:
                lengths = sum(len(shape.row) for shape in split.dead)
                found.append(Column(shapes_column(split.depth), "int32", (lengths,)))
        return found

    @property
    def bytes_per_row(self) -> float:
        """Bytes a row takes on disk, at the lengths of the sample."""
        live = sum(
            shape.bytes_per_row // shape.dtype.itemsize * getattr(torch, stored_dtype(shape, self.dtype)).itemsize
            for shape in self.live.values()
        )
        return live + sum(shape.bytes_per_row for shape in self.carried.values())

    def compute(self, start: int, stop: int) -> dict[str, Tensor | list[Tensor]]:
        """Rows ``start`` to ``stop - 1`` of every column; ``start`` begins a batch."""
        parts = [self._batch(first) for first in range(start, stop, self.batches.batch_size)]
        joined: dict[str, Tensor | list[Tensor]] = {}
        for name in parts[0]:
            values = [part[name] for part in parts]
            whole = [value for value in values if isinstance(value, Tensor)]
            joined[name] = torch.cat(whole) if len(whole) == len(values) else [row for value in values for row in value]
        return joined

    def _row(self, shape: TensorShape) -> tuple[int | None, ...]:
        return (None,) * len(shape.stored_row) if self.is_variable and shape.row else shape.stored_row

    def _batch(self, start: int) -> dict[str, Tensor | list[Tensor]]:
        batch = self.batches(start)
        recorder = CallRecorder(self._units, entered=self._entered, wanted=list(self.wanted))
        # Not inference mode: what a network keeps of its first forward is trained with later.
        with torch.no_grad(), misfits_told(self.model, batch):
            calls, _ = recorder.run(self.model, batch)
        tensors = {**batch, **{name: value for call in calls for name, value in call.tensors().items()}}
        if missing := sorted(set(self.wanted) - set(tensors)):
            raise DataError(f"The rows from {start} on never reached {missing[0]!r}, as the first ones did.")
        if not self.is_variable:
            return self._fixed(tensors, start)
        return self._variable(tensors, start)

    def _fixed(self, tensors: Mapping[str, Tensor], start: int) -> dict[str, Tensor | list[Tensor]]:
        made: dict[str, Tensor | list[Tensor]] = {}
        for name, shape in self.live.items():
            made[name] = shape.by_row(narrowed(tensors[name], stored_dtype(shape, self.dtype), start))
        made.update({f"{CARRIED}{name}": tensors[name].cpu() for name in self.carried})
        return made

    def _variable(self, tensors: Mapping[str, Tensor], start: int) -> dict[str, Tensor | list[Tensor]]:
        first = next(iter(self.live.values()))
        rows = len(first.by_row(tensors[first.name]))
        spans = own_lengths(tensors[MASK]) if self.trims else [None] * rows
        made: dict[str, Tensor | list[Tensor]] = {}
        for name, shape in self.live.items():
            kept = shape.by_row(narrowed(tensors[name], stored_dtype(shape, self.dtype), start))
            made[name] = _rows(kept, shape, spans)
        for name, shape in self.carried.items():
            made[f"{CARRIED}{name}"] = _rows(tensors[name].cpu(), shape, spans) if shape.row else tensors[name].cpu()
        for split in self.splits:
            lengths = torch.tensor(dead_lengths(split, tensors), dtype=torch.int32).repeat(rows, 1)
            for place in _time_places(split):
                for row, span in enumerate(spans):
                    if span is not None:
                        lengths[row, place] = span[1] - span[0]
            made[shapes_column(split.depth)] = lengths
        return made


def _rows(values: Tensor, shape: TensorShape, spans: Sequence[tuple[int, int] | None]) -> list[Tensor]:
    """Each row on its own, cut to its own length along its time axes."""
    rows = []
    for row, span in zip(values, spans, strict=True):
        if span is not None:
            for axis in shape.stored_time_axes:
                row = row.narrow(axis, span[0], span[1] - span[0])
        rows.append(row)
    return rows


def _time_places(split: Split) -> list[int]:
    """Which of the lengths of a split's dead tensors are lengths of the texts."""
    places, start = [], 0
    for shape in split.dead:
        places += [start + axis for axis in shape.time_axes]
        start += len(shape.row)
    return places
