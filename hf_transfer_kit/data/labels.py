"""Labels as class indices with names, checked before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from datasets import ClassLabel, Dataset, Value

from hf_transfer_kit.data.row_choice import ROW
from hf_transfer_kit.errors import DataError

LABEL_COLUMNS = frozenset({"label", "labels", "label_ids"})
"""What Trainer and its collators call labels."""
NO_LABEL = -1
"""Class index of a row without a label."""
_MISSING = (None, NO_LABEL)


def with_class_labels(splits: dict[str, Dataset], label: str, *, labelled: bool = True) -> dict[str, Dataset]:
    """The splits with ``label`` as a ClassLabel column; text and integer labels are named in sorted order.

    Args:
        splits: Split name -> dataset with its rows numbered; all share the classes.
        label: The label column.
        labelled: Whether every row needs a label, and the rows two classes; otherwise rows without one get
            ``NO_LABEL``.

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
        if not labelled:
            splits = {name: _with_missing_marked(data, label) for name, data in splits.items()}
    else:
        splits, names = _from_values(splits, label, feature, labelled=labelled)
    present: set[int] = set()
    for split, data in splits.items():
        values = list(data[label])
        _check(values, data, split, label, len(names), labelled=labelled)
        present |= set(values)
    if labelled and len(present) < 2:
        raise DataError(
            f"The label column {label!r} holds one class only ({names[present.pop()]!r}), so there is nothing to "
            "learn. Give data with at least two classes."
        )
    return splits


def with_class_order(splits: Mapping[str, Dataset], label: str, class_names: Sequence[str]) -> dict[str, Dataset]:
    """The splits with the classes of ``label``, a ClassLabel column, in the order of ``class_names``.

    Raises:
        DataError: When the classes are not those of ``class_names``.
    """
    names = next(iter(splits.values())).features[label].names
    if sorted(names) != sorted(class_names):
        check_same_classes(class_names, names)
    if list(names) == list(class_names):
        return dict(splits)
    place = {index: list(class_names).index(name) for index, name in enumerate(names)} | {NO_LABEL: NO_LABEL}
    feature = ClassLabel(names=list(class_names))
    return {
        split: replaced(data, label, [place[value] for value in data[label]], feature) for split, data in splits.items()
    }


def check_same_classes(source: Sequence[str] | None, target: Sequence[str] | None) -> None:
    """Refuses two domains whose classes are not the same in the same order; None, for unknown, fits everything.

    Raises:
        DataError: With the classes in which they differ.
    """
    if source is None or target is None or tuple(source) == tuple(target):
        return
    only = [
        f"only in the {name}: {', '.join(map(repr, missing))}"
        for name, missing in (
            ("source", [c for c in source if c not in target]),
            ("target", [c for c in target if c not in source]),
        )
        if missing
    ] or [f"in the source {', '.join(source)}, in the target {', '.join(target)}"]
    what = "classes" if len(only[0].split(":")) > 1 else "order of classes"
    raise DataError(
        f"Both domains must have the same classes in the same order, but their {what} differ: {'; '.join(only)}. "
        "Filter or rename the classes so that they agree."
    )


def class_values(data: Dataset, label: str) -> np.ndarray:
    """Class index of each row, of shape (rows,)."""
    return np.asarray(data[label], dtype=np.int64)


def all_labelled(data: Dataset, label: str | None) -> bool:
    """Whether every row has a class index in ``label``; False without such a column."""
    return label is not None and bool((class_values(data, label) != NO_LABEL).all())


def any_label(splits: Mapping[str, Dataset], label: str) -> bool:
    """Whether any row of any split has a label, of whatever type."""
    return any(value not in _MISSING for data in splits.values() for value in data[label])


def _from_values(
    splits: dict[str, Dataset], label: str, feature: object, *, labelled: bool
) -> tuple[dict[str, Dataset], list[str]]:
    if not labelled and _whole_floats(splits, label, feature):
        feature = Value("int64")
        splits = {name: data.cast_column(label, feature) for name, data in splits.items()}
    dtype = getattr(feature, "dtype", type(feature).__name__)
    if not isinstance(feature, Value) or not (dtype.startswith(("int", "uint", "bool")) or "string" in dtype):
        raise DataError(
            f"The label column {label!r} holds {dtype}, not classes. Classification needs whole numbers or names; give "
            "another column with --label_column."
        )
    values = {value for data in splits.values() for value in data.unique(label)}
    if not labelled:
        values -= set(_MISSING)
    if None in values:
        split, row = next((s, d[ROW][i]) for s, d in splits.items() for i, v in enumerate(d[label]) if v is None)
        raise DataError(f"Row {row} of {split} has no label in {label!r}. Remove such rows, or label them.")
    if "string" not in dtype and min(values) < 0:
        raise DataError(f"The label column {label!r} holds {min(values)}; classes are whole numbers from 0.")
    found = sorted(values)
    names = [value if "string" in dtype else str(int(value)) for value in found]
    index = dict.fromkeys(_MISSING, NO_LABEL) | {value: position for position, value in enumerate(found)}
    feature = ClassLabel(names=names)
    return {
        name: replaced(data, label, [index[value] for value in data[label]], feature) for name, data in splits.items()
    }, names


def _whole_floats(splits: dict[str, Dataset], label: str, feature: object) -> bool:
    """Whether the labels are whole numbers stored as floats, as csv files give them where some are missing."""
    if not (isinstance(feature, Value) and feature.dtype.startswith("float")):
        return False
    values = {value for data in splits.values() for value in data.unique(label)} - set(_MISSING)
    return all(value.is_integer() for value in values)


def _with_missing_marked(data: Dataset, label: str) -> Dataset:
    """Rows of a ClassLabel column that hold nothing hold ``NO_LABEL``."""
    values = list(data[label])
    if None not in values:
        return data
    marked = [NO_LABEL if value is None else value for value in values]
    return replaced(data, label, marked, data.features[label])


def replaced(data: Dataset, label: str, classes: list[int], feature: ClassLabel) -> Dataset:
    """The dataset with these class indices as its column ``label``."""
    return data.remove_columns(label).add_column(label, classes).cast_column(label, feature)


def _check(values: list[int | None], data: Dataset, split: str, label: str, count: int, *, labelled: bool) -> None:
    allowed = range(count) if labelled else range(NO_LABEL, count)
    for row, value in enumerate(values):
        if value is None:
            raise DataError(
                f"Row {data[ROW][row]} of {split} has no label in {label!r}. Remove such rows, or label them."
            )
        if value not in allowed:
            way_out = "Rows without a label do not belong into labelled data." if labelled else "Correct or remove it."
            raise DataError(
                f"Row {data[ROW][row]} of {split} has the label {value} in {label!r}, outside the {count} classes 0 to "
                f"{count - 1}. {way_out}"
            )
