"""What crosses the cut: plain facts about one model at one depth, without a tensor or a module in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

INPUT = "input of "


@dataclass(frozen=True)
class TensorShape:
    """Shape of a tensor, as far as it is the same in every batch.

    Args:
        name: ``"unit/call/leaf"``: the leaf-th tensor in what the unit returned when called for the call-th time;
            ``"input of unit/call/leaf"`` where it is what went in; the plain name for an input of the model.
        dtype: Its type.
        rows_each: Length of the first axis for each row of the batch: 1 for (B, ...); 0 where the first axis has
            nothing to do with the batch.
        row: Shape of one row, in the batch that was looked at; the whole shape where ``rows_each`` is 0.
        time_axes: Axes of ``row`` that are as long as the padded texts of the batch.
    """

    name: str
    dtype: torch.dtype
    rows_each: int
    row: tuple[int, ...]
    time_axes: tuple[int, ...] = ()

    def of_batch(self, rows: int, row: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """The whole shape for a batch of ``rows`` rows, each of shape ``row`` (by default the one looked at)."""
        row = self.row if row is None else row
        return (rows * self.rows_each, *row) if self.rows_each else row

    @property
    def stored_row(self) -> tuple[int, ...]:
        """Shape of what one row of the batch gives: with an axis for the pieces, where there are several a row."""
        return (self.rows_each, *self.row) if self.rows_each > 1 else self.row

    @property
    def stored_time_axes(self) -> tuple[int, ...]:
        """``time_axes`` in ``stored_row``."""
        return tuple(axis + (self.rows_each > 1) for axis in self.time_axes)

    def by_row(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor of this shape as (B, *stored_row)."""
        return tensor.unflatten(0, (-1, self.rows_each)) if self.rows_each > 1 else tensor

    def as_read(self, tensor: torch.Tensor) -> torch.Tensor:
        """The inverse of ``by_row``."""
        return tensor.flatten(0, 1) if self.rows_each > 1 else tensor

    @property
    def bytes_per_row(self) -> int:
        """Memory of one row as looked at."""
        return self.rows_each * torch.Size(self.row).numel() * self.dtype.itemsize


@dataclass(frozen=True)
class UnitCall:
    """One call of a unit: how its output is put together.

    Args:
        spec: The tree of the output.
        leaves: In the tree's order, a tensor's shape, or the value itself where it is no tensor.
    """

    spec: Any
    leaves: tuple[TensorShape | Any, ...]


@dataclass(frozen=True)
class Split:
    """A model cut behind its first ``depth`` layer groups.

    Args:
        depth: Number of groups whose work is done once.
        calls: Unit -> its calls in one forward. These units are not run again.
        live: Tensors of theirs (or inputs of the head, or of the model) that the rest of the network reads.
        dead: All other tensors of those calls, and inputs of the model that only they read: their values do not
            matter, their shapes may.
        carried: Inputs of the model that go with the cached tensors as they are (labels, masks, tokens): their shapes.
        is_variable: Whether shapes differ from row to row (texts, sounds).
        trims: Whether rows are cut to their own length before they are stored (texts with a mask).
    """

    depth: int
    calls: Mapping[str, tuple[UnitCall, ...]]
    live: tuple[TensorShape, ...]
    dead: tuple[TensorShape, ...]
    carried: tuple[TensorShape, ...]
    is_variable: bool = False
    trims: bool = False

    @property
    def entered(self) -> dict[str, list[TensorShape]]:
        """Modules of the suffix whose inputs are cached -> those inputs."""
        found: dict[str, list[TensorShape]] = {}
        for shape in self.live:
            if shape.name.startswith(INPUT):
                found.setdefault(parts_of(shape.name)[0], []).append(shape)
        return found


def leaf_name(unit: str, call: int, leaf: int) -> str:
    """The name of a tensor that a unit returned."""
    return f"{unit}/{call}/{leaf}"


def parts_of(name: str) -> tuple[str, int, int]:
    """Unit, call and leaf of a tensor's name."""
    unit, call, leaf = name.removeprefix(INPUT).rsplit("/", 2)
    return unit, int(call), int(leaf)


def refusal(model: object, depth: int, what: str) -> str:
    """The sentence that says why a model is not cut."""
    return (
        f"{type(model).__name__} cannot be split behind its first {depth} layer groups: {what}. "
        "Train it without a cache, or freeze another number of groups."
    )
