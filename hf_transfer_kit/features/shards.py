"""Rows of tensors as Arrow files that ``datasets`` opens: what a column is, a file written, a file read in place."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import torch
from datasets import Features, LargeList, List, Value
from torch import Tensor

from hf_transfer_kit.errors import DataError, SettingsError, first_line

# Arrow has no bfloat16, and packs its booleans to bits that cannot be read in place: both are stored as what they are
# made of.
_STORED_AS = {"bfloat16": "uint16", "bool": "uint8"}
_PLAIN = ("float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8")
DTYPES = (*_PLAIN, *_STORED_AS)
_LONGEST_LIST = 2**31 - 1


@dataclass(frozen=True)
class Column:
    """One tensor per row.

    Args:
        name: Any text.
        dtype: torch's name of the element type, such as ``"float32"``, ``"bfloat16"`` or ``"bool"``.
        shape: Of ONE row; ``()`` is a scalar; None stands for a length that differs from row to row.

    Raises:
        SettingsError: When Arrow cannot hold such a column.

    Example:
        >>> Column("features", "float16", (768,))
        Column(name='features', dtype='float16', shape=(768,))
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise SettingsError(
                f"Column {self.name!r} has the dtype {self.dtype!r}, which cannot be stored; choose one of "
                f"{', '.join(DTYPES)}."
            )
        if any(length is not None and length < 0 for length in self.shape):
            raise SettingsError(f"Column {self.name!r} has the shape {self.shape}; lengths are 0 or more, or None.")
        if self.fixed and self.elements > _LONGEST_LIST:
            raise SettingsError(
                f"Column {self.name!r} has {self.elements} numbers a row, but Arrow holds at most {_LONGEST_LIST}. "
                "Make its rows smaller, or leave one length open (None)."
            )

    @property
    def fixed(self) -> bool:
        """Whether all rows have one shape."""
        return None not in self.shape

    @property
    def elements(self) -> int:
        """Numbers in a row of a fixed column."""
        return math.prod(cast(tuple[int, ...], self.shape))

    @property
    def torch_dtype(self) -> torch.dtype:
        """The element type."""
        return getattr(torch, self.dtype)

    @property
    def stored_dtype(self) -> str:
        """numpy's and Arrow's name of the type on disk, of the same size."""
        return _STORED_AS.get(self.dtype, self.dtype)

    @property
    def row_bytes(self) -> int | None:
        """Bytes of a row; None where they differ from row to row."""
        return self.elements * self.torch_dtype.itemsize if self.fixed else None

    @property
    def shape_name(self) -> str:
        """Name of the column that holds the shapes of the rows of a variable column."""
        return f"{self.name}.shape"

    def admits(self, shape: Sequence[int]) -> bool:
        """Whether one row may have this shape."""
        return len(shape) == len(self.shape) and all(
            asked in (None, found) for asked, found in zip(self.shape, shape, strict=True)
        )


@dataclass(frozen=True)
class Ragged:
    """Rows of different shapes, read in place.

    Args:
        offsets: First element of each row and the end of the last, of shape (rows + 1,).
        values: All elements, of shape (elements,).
        shapes: Of shape (rows, axes).
    """

    offsets: np.ndarray
    values: np.ndarray
    shapes: np.ndarray

    def __getitem__(self, row: int) -> np.ndarray:
        return self.values[self.offsets[row] : self.offsets[row + 1]].reshape(self.shapes[row])


@dataclass(frozen=True)
class Shard:
    """One memory-mapped file.

    Args:
        path: Where it is.
        base: Address of its first byte.
        views: Column -> array of shape (rows, *shape) as stored, or ragged rows.
    """

    path: Path
    base: int
    views: Mapping[str, np.ndarray | Ragged]


def arrow_features(columns: Sequence[Column]) -> Features:
    """How ``datasets`` sees the columns: scalars as values, all else as flat lists, shapes beside variable ones."""
    features: dict[str, Any] = {}
    for column in columns:
        value = Value(column.stored_dtype)
        if column.shape == ():
            features[column.name] = value
        elif column.fixed:
            features[column.name] = List(value, length=column.elements)
        else:
            features[column.name] = LargeList(value)
            features[column.shape_name] = List(Value("int64"), length=len(column.shape))
    return Features(features)


def checked_columns(columns: Sequence[Column]) -> tuple[Column, ...]:
    """The columns, when their names differ from one another and from those of the shapes kept beside variable ones.

    Raises:
        SettingsError: When there is none, or two share a name.
    """
    names = [name for column in columns for name in arrow_features([column])]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not columns or twice:
        found = f"{', '.join(map(repr, twice))} is there twice" if twice else "there is none"
        raise SettingsError(f"A store has one or more columns of different names, but {found}. Rename them.")
    return tuple(columns)


def shard_batch(
    columns: Sequence[Column], values: Mapping[str, Tensor | Sequence[Tensor]], rows: int
) -> pa.RecordBatch:
    """The rows of all columns as one Arrow batch; fixed columns on the CPU are not copied.

    Args:
        columns: What was promised.
        values: Column -> tensor of shape (rows, *shape), or ``rows`` tensors for a variable column.
        rows: How many were asked for.

    Raises:
        DataError: When the values are not those promised.
    """
    expected = {column.name for column in columns}
    if set(values) != expected:
        raise DataError(
            f"The columns {sorted(expected)} were promised, but {sorted(values)} were computed. Compute exactly the "
            "columns that were promised."
        )
    schema = arrow_features(columns).arrow_schema
    arrays: dict[str, pa.Array] = {}
    for column in columns:
        found = values[column.name]
        if column.fixed:
            _check_fixed(column, found, rows)
            arrays[column.name] = _fixed_array(schema.field(column.name).type, _stored(cast(Tensor, found)), rows)
        else:
            _check_variable(column, found, rows)
            flat = [_stored(row) for row in found]
            offsets = np.cumsum([0, *(len(row) for row in flat)], dtype=np.int64)
            joined = np.concatenate(flat) if flat else np.empty(0, column.stored_dtype)
            arrays[column.name] = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(joined))
            shapes = np.array([tuple(row.shape) for row in found], dtype=np.int64).reshape(-1)
            arrays[column.shape_name] = _fixed_array(schema.field(column.shape_name).type, shapes, rows)
    return pa.record_batch([arrays[name] for name in schema.names], schema=schema)


def _check_fixed(column: Column, found: Any, rows: int) -> None:
    if not isinstance(found, Tensor):
        raise DataError(
            f"Column {column.name!r} was computed as {type(found).__name__}; all rows must have one size and come as "
            f"one tensor of shape {(rows, *column.shape)}. Pad the rows, or leave the length that differs open (None)."
        )
    if found.dim() == 0 or len(found) != rows or not column.admits(found.shape[1:]):
        raise DataError(
            f"Column {column.name!r} was computed with shape {tuple(found.shape)}, but {(rows, *column.shape)} was "
            "promised: all rows must have one size. Pad or crop them to one size, or leave the length that differs "
            "open (None)."
        )
    _check_dtype(column, found)


def _check_variable(column: Column, found: Any, rows: int) -> None:
    if len(found) != rows:
        raise DataError(
            f"Column {column.name!r} was computed for {len(found)} rows, but {rows} were asked for. Compute exactly "
            "the rows asked for; the number of rows must not change meanwhile."
        )
    for row in found:
        if not column.admits(row.shape):
            raise DataError(
                f"Column {column.name!r} has a row of shape {tuple(row.shape)}, but {column.shape} was promised; only "
                "lengths that are None may differ. Declare the length that differs as None."
            )
        _check_dtype(column, row)


def _check_dtype(column: Column, found: Tensor) -> None:
    if found.dtype != column.torch_dtype:
        raise DataError(
            f"Column {column.name!r} was computed as {str(found.dtype).removeprefix('torch.')}, but {column.dtype} was "
            "promised. Cast it before it is stored."
        )


def _stored(tensor: Tensor) -> np.ndarray:
    """All elements of a tensor as they are stored, of shape (elements,)."""
    plain = tensor.detach().cpu().contiguous().view(-1)
    if plain.dtype == torch.bfloat16:
        return plain.view(torch.uint16).numpy()
    return plain.view(torch.uint8).numpy() if plain.dtype == torch.bool else plain.numpy()


def _fixed_array(kind: pa.DataType, flat: np.ndarray, rows: int) -> pa.Array:
    if not pa.types.is_fixed_size_list(kind):
        return pa.array(flat)
    return pa.Array.from_buffers(kind, rows, [None], children=[pa.array(flat)])


def write_shard(path: Path, batch: pa.RecordBatch) -> None:
    """Writes a batch so that ``path`` is either whole or not there, also after a crash.

    Raises:
        OSError: Such as no space left; what was written until then is removed.
    """
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        with open(unfinished, "wb") as file:
            with pa.ipc.new_stream(file, batch.schema) as stream:
                stream.write_batch(batch)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def read_shard(path: Path, columns: Sequence[Column], rows: int) -> Shard:
    """A file opened as views into its memory map.

    Raises:
        DataError: When the file is missing, cut off, or holds something else.
    """
    try:
        with pa.memory_map(str(path)) as file:  # the map lives on in the views; the file descriptor does not
            whole = file.read_buffer()
        batch = pa.ipc.open_stream(whole).read_next_batch()
        if batch.num_rows != rows or not batch.schema.equals(arrow_features(columns).arrow_schema):
            raise pa.ArrowInvalid(f"it holds {batch.num_rows} rows of {batch.schema.names}, not {rows} of those stored")
        return Shard(path, whole.address, {column.name: _view(column, batch, rows) for column in columns})
    except (pa.ArrowException, OSError, StopIteration, ValueError) as error:
        raise DataError(
            f"{path} is damaged ({first_line(error)}). Delete the "
            f"folder {path.parent} and run again: it is computed anew."
        ) from error


def _view(column: Column, batch: pa.RecordBatch, rows: int) -> np.ndarray | Ragged:
    array = batch.column(column.name)
    if column.shape == ():
        return array.to_numpy(zero_copy_only=True)
    values = array.values.to_numpy(zero_copy_only=True)
    if column.fixed:
        return values.reshape(rows, *column.shape)
    shapes = batch.column(column.shape_name).values.to_numpy(zero_copy_only=True)
    return Ragged(array.offsets.to_numpy(zero_copy_only=True), values, shapes.reshape(rows, len(column.shape)))
