"""Which rows of a dataset are read: those with given values in given columns, each numbered by its place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from datasets import ClassLabel, Dataset, Value

from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.near_names import did_you_mean

ROW = "row_as_given"
"""Column with the place that a row had in the split it was given in, which is what messages call it."""
_SHOWN = 20


def numbered_rows(
    splits: Mapping[str, Dataset], keep_rows: Mapping[str, Sequence[str]] | None = None
) -> dict[str, Dataset]:
    """The rows to read of each split, with their places in the column ``ROW``.

    Args:
        splits: Split name -> dataset.
        keep_rows: Column -> values, compared as text (classes by their name). A row is kept when each of these columns
            has one of its values; None keeps all rows.

    Raises:
        DataError: When there is no such column, it holds no plain values, or a split has no row left.
        SettingsError: When the values of a column are one text instead of a list.
    """
    if not isinstance(keep_rows, Mapping | None):
        raise SettingsError(f"keep_rows={keep_rows!r} is no mapping; give column -> list of values.")
    for column, values in (keep_rows or {}).items():
        if isinstance(values, str):
            raise SettingsError(f"keep_rows[{column!r}] is the text {values!r}; give a list of values: [{values!r}].")
        if not isinstance(values, Iterable):
            raise SettingsError(f"keep_rows[{column!r}] is {values!r}; give a list of values: [{values!r}].")
    numbered = {}
    for split, data in splits.items():
        places = np.arange(len(data))
        for column, values in (keep_rows or {}).items():
            places = _with_values(data, split, places, column, [str(value) for value in values])
        data = data.add_column(ROW, list(range(len(data))))
        numbered[split] = data if len(places) == len(data) else data.select(places)
    return numbered


def _with_values(data: Dataset, split: str, places: np.ndarray, column: str, values: list[str]) -> np.ndarray:
    """Those of ``places`` whose row has one of ``values``."""
    found = _as_text(data, column)[places]
    kept = places[np.isin(found, values)]
    if not len(kept):
        there = sorted(set(found.tolist()))
        more = f" and {len(there) - _SHOWN} more" if len(there) > _SHOWN else ""
        raise DataError(
            f"keep_rows leaves no row of {split}: none has {', '.join(map(repr, values)) or 'one of no values'} in "
            f"{column!r}. The values there are {', '.join(map(repr, there[:_SHOWN]))}{more}; choose among them."
        )
    return kept


def _as_text(data: Dataset, column: str) -> np.ndarray:
    """The column's values as text, of shape (rows,)."""
    if column not in data.features:
        raise DataError(
            f"keep_rows names the column {column!r}, but the columns are {', '.join(data.column_names)}. Name one of "
            f"these.{did_you_mean(column, data.column_names)}"
        )
    feature = data.features[column]
    if not isinstance(feature, Value | ClassLabel):
        raise DataError(
            f"keep_rows compares values as text, but {column!r} holds {type(feature).__name__}. Name a column of "
            "numbers, texts or classes."
        )
    # A class is known by its name; a row without one (None or -1) has none.
    names = dict(enumerate(feature.names)) if isinstance(feature, ClassLabel) else {}
    return np.array([str(names.get(value, value)) for value in data[column][:]], dtype=object)
