"""Labels as class indices with names, checked before anything is trained."""

from __future__ import annotations

import numpy as np
from datasets import ClassLabel, Dataset, Value

from hf_transfer_kit.errors import DataError


def with_class_labels(splits: dict[str, Dataset], label: str, *, names: list[str] | None = None) -> dict[str, Dataset]:
    """The splits with ``label`` as a ClassLabel column; text and integer labels are named in sorted order.

    Args:
        splits: Split name -> dataset; all share the classes.
        label: The label column.
        names: Class names, where known.

    Raises:
        DataError: When labels are missing, are not classes, lie outside the range, or there is only one class.
    """
    feature = next(iter(splits.values())).features[label]
    if isinstance(feature, ClassLabel):
        names = feature.names
        splits = {
            name: data if data.features[label] == feature else data.cast_column(label, feature)
            for name, data in splits.items()
        }
    else:
        splits, names = _from_values(splits, label, feature, names)
    present: set[int] = set()
    for split, data in splits.items():
        values = list(data[label])
        _check(values, split, label, len(names))
        present |= set(values)
    if len(present) < 2:
        raise DataError(
            f"The label column {label!r} holds one class only ({names[present.pop()]!r}), so there is nothing to "
            "learn. Give data with at least two classes."
        )
    return splits


def class_values(data: Dataset, label: str) -> np.ndarray:
    """Class index of each row, of shape (rows,)."""
    return np.asarray(data[label], dtype=np.int64)


def _from_values(
    splits: dict[str, Dataset], label: str, feature: object, names: list[str] | None
) -> tuple[dict[str, Dataset], list[str]]:
    dtype = getattr(feature, "dtype", type(feature).__name__)
    if not isinstance(feature, Value) or not (dtype.startswith(("int", "uint", "bool")) or "string" in dtype):
        raise DataError(
            f"The label column {label!r} holds {dtype}, not classes. Classification needs whole numbers or names; give "
            "another column with --label_column."
        )
    values = {value for data in splits.values() for value in data.unique(label)}
    if None in values:
        split, row = next((s, i) for s, d in splits.items() for i, v in enumerate(d[label]) if v is None)
        raise DataError(f"Row {row} of {split} has no label in {label!r}. Remove such rows, or label them.")
    if "string" in dtype:
        found = sorted(values)
        index = {value: position for position, value in enumerate(found)}
        names = found
    else:
        if min(values) < 0:
            raise DataError(f"The label column {label!r} holds {min(values)}; classes are whole numbers from 0.")
        found = sorted(int(value) for value in values)
        index = {value: position for position, value in enumerate(found)}
        names = names or [str(value) for value in found]
    feature = ClassLabel(names=names)

    def named(data: Dataset) -> Dataset:
        indices = [index[value if "string" in dtype else int(value)] for value in data[label]]
        return data.remove_columns(label).add_column(label, indices).cast_column(label, feature)

    return {name: named(data) for name, data in splits.items()}, names


def _check(values: list[int | None], split: str, label: str, count: int) -> None:
    for row, value in enumerate(values):
        if value is None:
            raise DataError(f"Row {row} of {split} has no label in {label!r}. Remove such rows, or label them.")
        if not 0 <= value < count:
            raise DataError(
                f"Row {row} of {split} has the label {value} in {label!r}, outside the {count} classes 0 to "
                f"{count - 1}. Rows without a label do not belong into labelled data."
            )
