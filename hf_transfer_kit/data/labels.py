"""Labels as class indices with names, checked before anything is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from datasets import ClassLabel, Dataset, Value

from hf_transfer_kit.data.class_names import (
    check_spellings,
    indices_of_plain,
    is_class,
    is_text,
    places,
    shared_names,
    tell_untaught,
)
from hf_transfer_kit.data.label_kinds import is_list, words_of
from hf_transfer_kit.data.row_choice import ROW
from hf_transfer_kit.errors import DataError
from hf_transfer_kit.logs import get_logger

LABEL_COLUMNS = frozenset({"label", "labels", "label_ids"})
"""What Trainer and its collators call labels."""
NO_LABEL = -1
"""Class index of a row without a label."""
_MISSING = (None, NO_LABEL)
_SHOWN = 10

logger = get_logger(__name__)


def with_class_labels(
    splits: dict[str, Dataset], label: str, *, labelled: bool = True, missing_label: object = None
) -> dict[str, Dataset]:
    """The splits with ``label`` as a ClassLabel column; text and integer labels are named in sorted order.

    Classes are the same where they have the same name, whatever their place in a split's own list.

    Args:
        splits: Split name -> dataset with its rows numbered.
        label: The label column.
        labelled: Whether every row needs a label, and the rows two classes; otherwise rows without one (None, and -1
            where classes have names) get ``NO_LABEL``.
        missing_label: A value that stands for no label, beside None.

    Raises:
        DataError: When labels are missing, are not classes, lie outside the range, or there is only one class.
    """
    if missing_label is not None:
        splits = {name: _without(data, label, missing_label) for name, data in splits.items()}
    if any(is_class(data.features[label]) for data in splits.values()):
        splits, names = with_shared_classes(splits, label)
        if not labelled:
            splits = {name: _with_missing_marked(data, label) for name, data in splits.items()}
    else:
        splits, names = _from_values(splits, label, labelled=labelled)
    counts = {}
    for split, data in splits.items():
        values = data[label][:]
        _check(values, data, split, label, len(names), labelled=labelled)
        counts[split] = Counter(values)
    present = set().union(*counts.values())
    if labelled and len(present) < 2:
        raise DataError(
            f"The label column {label!r} holds one class only ({names[present.pop()]!r}), so there is nothing to "
            "learn. Give data with at least two classes."
        )
    if labelled:
        tell_untaught(counts, names)
    return splits


def with_shared_classes(splits: Mapping[str, Dataset], label: str) -> tuple[dict[str, Dataset], list[str]]:
    """The splits, or files of one, with one list of classes, and that list; at least one has names."""
    own = {name: data.features[label].names for name, data in splits.items() if is_class(data.features[label])}
    names = shared_names(own, label)
    feature = ClassLabel(names=names)
    found = {}
    for split, data in splits.items():
        if split not in own:
            values = indices_of_plain(data, label, names, split=split)
        elif own[split] == names:
            found[split] = data if data.features[label] == feature else data.cast_column(label, feature)
            continue
        else:
            place = places(own[split], names)
            values = [place.get(value, value) for value in data[label][:]]
        found[split] = replaced(data, label, values, feature)
    return found, names


def with_present_classes(splits: Mapping[str, Dataset], label: str) -> dict[str, Dataset]:
    """The splits with the classes of ``label``, a ClassLabel column, that some row has, in their order."""
    names = next(iter(splits.values())).features[label].names
    present = sorted({value for data in splits.values() for value in data.unique(label)} - {None, NO_LABEL})
    if len(present) == len(names):
        return dict(splits)
    place = {old: new for new, old in enumerate(present)} | {NO_LABEL: NO_LABEL}
    feature = ClassLabel(names=[names[index] for index in present])
    return {
        split: replaced(data, label, [place[value] for value in data[label][:]], feature)
        for split, data in splits.items()
    }


def _without(data: Dataset, label: str, missing: object) -> Dataset:
    """The rows whose label is ``missing``, as such or as text, have none."""
    feature = data.features[label]
    names = dict(enumerate(feature.names)) if is_class(feature) else {}
    values = [None if str(names.get(v, v)).strip() == str(missing) else v for v in data[label][:]]
    return replaced(data, label, values, feature)


def with_class_order(
    splits: Mapping[str, Dataset],
    label: str,
    class_names: Sequence[str],
    *,
    partial: bool = False,
    open_classes: bool = False,
) -> dict[str, Dataset]:
    """The splits with the classes of ``label``, a ClassLabel column, in the order of ``class_names``.

    Args:
        splits: Split name -> dataset.
        label: The column.
        class_names: Names in the order that is wanted.
        partial: Whether some may be missing, as a target may show some of the source's classes alone; they are told.
        open_classes: Whether there may be classes beyond these; they stand behind them, in their own order.

    Raises:
        DataError: When classes are missing or there are others where that is not allowed, or none fits.
    """
    names = next(iter(splits.values())).features[label].names
    further = [name for name in names if name not in class_names]
    missing = [name for name in class_names if name not in names]
    allowed = (open_classes or not further) and (partial or not missing) and len(set(class_names)) == len(class_names)
    if not allowed or len(further) == len(names):
        check_same_classes(class_names, names)
    if missing:
        logger.warning(
            f"The target names {len(names) - len(further)} of the source's {len(class_names)} classes: it has no row "
            f"of {', '.join(map(repr, missing[:_SHOWN]))}{' and others' if len(missing) > _SHOWN else ''}."
        )
    wanted = [*class_names, *further]
    if list(names) == wanted:
        return dict(splits)
    place = places(names, wanted) | {NO_LABEL: NO_LABEL}
    feature = ClassLabel(names=wanted)
    return {
        split: replaced(data, label, [place[value] for value in data[label][:]], feature)
        for split, data in splits.items()
    }


def check_same_classes(source: Sequence[str] | None, target: Sequence[str] | None) -> None:
    """Refuses two domains whose classes are not the same in the same order; None, for unknown, fits everything.

    Raises:
        DataError: With the classes in which they differ.

    Example:
        >>> check_same_classes(["cat", "dog"], ["cat", "dog"])  # the same: nothing is raised
        >>> check_same_classes(["cat", "dog"], None)  # unknown: likewise
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
    return np.asarray(data[label][:], dtype=np.int64)


def all_labelled(data: Dataset, label: str | None) -> bool:
    """Whether every row has a class index in ``label``; False without such a column."""
    return label is not None and bool((class_values(data, label) != NO_LABEL).all())


def any_label(splits: Mapping[str, Dataset], label: str) -> bool:
    """Whether any row of any split has a label, of whatever type."""
    return any(value not in _MISSING for data in splits.values() for value in data[label][:])


def tell_counts(classes: Mapping[str, np.ndarray], names: Sequence[str], *, labelled: bool) -> None:
    """Says how many rows have no label, and of which classes no row tells how well they are learned.

    Args:
        classes: Split -> class index of each of its rows.
        names: Names of the classes.
        labelled: Whether every row was to have a label.
    """
    missing = [
        f"{(values == NO_LABEL).sum()} of {len(values)} rows of {split}"
        for split, values in classes.items()
        if (values == NO_LABEL).any()
    ]
    if missing:
        logger.warning(f"{', '.join(missing)} have no label.")
    if not labelled:
        return
    taught = set(classes["train"].tolist())
    for split in ("validation", "test"):
        untested = sorted(taught - set(classes[split].tolist()))
        if untested:
            listed = ", ".join(repr(names[index]) for index in untested[:_SHOWN])
            more = f" and {len(untested) - _SHOWN} more" if len(untested) > _SHOWN else ""
            logger.warning(
                f"No row of {split} has the class {listed}{more}: nothing there tells how well it is learned."
            )


def _from_values(splits: dict[str, Dataset], label: str, *, labelled: bool) -> tuple[dict[str, Dataset], list[str]]:
    kinds = {name: data.features[label] for name, data in splits.items()}
    if len({is_text(kind) for kind in kinds.values()}) > 1:  # "1" in one file and 1 in another
        splits = {name: data.cast_column(label, Value("string")) for name, data in splits.items()}
    elif any(_is_float(kind) for kind in kinds.values()) and _whole_floats(splits, label):
        splits = {name: data.cast_column(label, Value("int64")) for name, data in splits.items()}
    feature = next(iter(splits.values())).features[label]
    dtype = getattr(feature, "dtype", type(feature).__name__)
    if not isinstance(feature, Value) or not (dtype.startswith(("int", "uint", "bool")) or "string" in dtype):
        way_out = ' For several classes a row use task_type="multi_label".' if is_list(feature) else ""
        raise DataError(
            f"The label column {label!r} holds {words_of(feature)}, not classes. Classification needs whole numbers or "
            f"names; give another column with --label_column.{way_out}"
        )
    if is_text(feature):
        splits = {name: _stripped(data, label) for name, data in splits.items()}
    values = {value for data in splits.values() for value in data.unique(label)}
    if not labelled:
        values -= {None}
    if None in values:
        for split, data in splits.items():
            _refuse_missing(data[label][:], data, split, label)
    if not labelled and not is_text(feature) and NO_LABEL in values:
        raise DataError(
            f"The label column {label!r} holds -1 among other numbers: a class, or no label? Say "
            "missing_label=-1 (--missing_label -1) for no label, or give the classes names."
        )
    found = sorted(values)
    names = [value if is_text(feature) else str(int(value)) for value in found]
    if is_text(feature):
        check_spellings(names, label)
    index = {None: NO_LABEL} | {value: position for position, value in enumerate(found)}
    feature = ClassLabel(names=names)
    return {
        name: replaced(data, label, [index[value] for value in data[label][:]], feature)
        for name, data in splits.items()
    }, names


def _stripped(data: Dataset, label: str) -> Dataset:
    values = data[label][:]
    stripped = [None if value is None else value.strip() or None for value in values]
    return data if stripped == values else replaced(data, label, stripped, data.features[label])


def _is_float(feature: object) -> bool:
    return isinstance(feature, Value) and feature.dtype.startswith("float")


def _whole_floats(splits: dict[str, Dataset], label: str) -> bool:
    """Whether the labels are whole numbers stored as floats, as csv files give them where some are missing."""
    values = {value for data in splits.values() for value in data.unique(label)} - {None}
    return all(float(value).is_integer() for value in values)


def _with_missing_marked(data: Dataset, label: str) -> Dataset:
    """Rows of a ClassLabel column that hold nothing hold ``NO_LABEL``."""
    values = data[label][:]
    if None not in values:
        return data
    marked = [NO_LABEL if value is None else value for value in values]
    return replaced(data, label, marked, data.features[label])


def replaced(data: Dataset, label: str, values: list, feature: object) -> Dataset:
    """The dataset with these values as its column ``label``."""
    return data.remove_columns(label).add_column(label, values, feature=feature)


def _refuse_missing(values: Sequence[object], data: Dataset, split: str, label: str) -> None:
    missing = [row for row, value in enumerate(values) if value is None]
    if missing:
        more = f" (nor have {len(missing) - 1} more of its {len(values)} rows)" if len(missing) > 1 else ""
        raise DataError(
            f"Row {data[ROW][missing[0]]} of {split} has no label in {label!r}{more}. Remove such rows, or label them."
        )


def _check(values: list[int | None], data: Dataset, split: str, label: str, count: int, *, labelled: bool) -> None:
    allowed = range(count) if labelled else range(NO_LABEL, count)
    _refuse_missing(values, data, split, label)
    for row, value in enumerate(values):
        if value not in allowed:
            way_out = "Rows without a label do not belong into labelled data." if labelled else "Correct or remove it."
            raise DataError(
                f"Row {data[ROW][row]} of {split} has the label {value} in {label!r}, outside the {count} classes 0 to "
                f"{count - 1}. {way_out}"
            )
