"""Labels of other kinds than one class a row: numbers, several classes, a class for each word, transcripts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from datasets import ClassLabel, Dataset, List, Value

from hf_transfer_kit.data.class_names import places, shared_names
from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.near_names import did_you_mean
from hf_transfer_kit.task_types import CLASSIFICATION as CLASSIFICATION
from hf_transfer_kit.task_types import TOKEN_CLASSIFICATION

BLANK = "<blank>"
"""Symbol 0 of transcripts: what is heard between two symbols."""

Splits = Mapping[str, Dataset]


def joined_numbers(splits: Splits, columns: Sequence[str | None]) -> dict[str, Dataset]:
    """The splits with a column of lists for each of ``columns`` that names several columns of numbers.

    Args:
        splits: Split name -> dataset.
        columns: Names; ``"width,height"`` joins two columns, where no column has that name itself.
    """
    found = dict(splits)
    for column in dict.fromkeys(name for name in columns if name and "," in name):
        parts = [part.strip() for part in column.split(",")]
        for split, data in found.items():
            if column not in data.features and all(is_number(data.features.get(part)) for part in parts):
                rows = [list(row) for row in zip(*(data[part][:] for part in parts), strict=True)]
                found[split] = data.add_column(column, rows, feature=List(Value("float64")))
    return found


def with_numbers(splits: Splits, label: str) -> tuple[dict[str, Dataset], tuple[str, ...]]:
    """The splits with ``label`` as float64, without names; or, of several numbers a row, lists of them with names.

    Of several numbers some may be missing (None): nothing is learned there.

    Raises:
        DataError: When a row has none, or no finite number, or rows have different numbers of them.
    """
    if all(is_list(data.features[label]) and is_number(item_of(data.features[label])) for data in splits.values()):
        return _with_number_lists(splits, label)
    for split, data in splits.items():
        feature = data.features[label]
        if not is_number(feature):
            raise DataError(
                f"The label column {label!r} holds {words_of(feature)}, but regression needs a number for each row. "
                "Give another column (several joined by commas), or another type of task."
            )
        for row, value in enumerate(data[label][:]):
            if value is None or not math.isfinite(value):
                raise DataError(f"Row {row} of {split} has {value} in {label!r}, no finite number. Correct or drop it.")
    return {split: data.cast_column(label, Value("float64")) for split, data in splits.items()}, ()


def _with_number_lists(splits: Splits, label: str) -> tuple[dict[str, Dataset], tuple[str, ...]]:
    size: int | None = None
    for split, data in splits.items():
        for row, values in enumerate(data[label][:]):
            known = [value for value in values or () if value is not None and not math.isnan(value)]
            size = len(values or ()) if size is None else size
            if not known or not all(map(math.isfinite, known)) or len(values) != size:
                raise DataError(
                    f"Row {row} of {split} has {values} in {label!r}, but each row needs {size} finite numbers, of "
                    "which some but not all may be missing. Correct or drop it."
                )
    size = size or 0
    parts = [part.strip() for part in label.split(",")]
    names = parts if len(parts) == size else [f"{label}_{place}" for place in range(size)]
    if len(set(names)) < len(names):
        raise DataError(f"The label column {label!r} names a column twice. Name each once.")
    values = {
        split: [[math.nan if v is None else float(v) for v in row] for row in data[label][:]]
        for split, data in splits.items()
    }
    return _replaced(splits, label, values, Value("float64")), tuple(names) if size > 1 else ()


def with_class_lists(splits: Splits, label: str) -> tuple[dict[str, Dataset], tuple[str, ...]]:
    """The splits with ``label`` as a list that says of each class whether it holds (0 or 1), and the classes' names.

    Raises:
        DataError: When the column holds no lists of classes.
    """
    values, names = _class_lists(splits, label, "several classes a row")
    held = {
        split: [[float(index in row) for index in range(len(names))] for row in rows] for split, rows in values.items()
    }
    return _replaced(splits, label, held, Value("float32")), names


def with_word_classes(splits: Splits, label: str, words: str) -> tuple[dict[str, Dataset], tuple[str, ...]]:
    """The splits with ``label`` as a list of class indices, one for each of the row's ``words``, and the names.

    Raises:
        DataError: When the column holds no lists of classes, or a row has more or fewer of them than words.
    """
    values, names = _class_lists(splits, label, "a class for each word")
    for split, data in splits.items():
        for row, (classes, said) in enumerate(zip(values[split], data[words][:], strict=True)):
            if len(classes) != len(said):
                raise DataError(
                    f"Row {row} of {split} has {len(classes)} classes in {label!r} for {len(said)} words in {words!r}. "
                    "Give one for each word."
                )
    return _replaced(splits, label, values, Value("int64")), names


def with_transcripts(
    splits: Splits, label: str, names: Mapping[str, str] | Sequence[str] | None = None
) -> tuple[dict[str, Dataset], tuple[str, ...]]:
    """The splits with ``label`` as a list of symbols, the characters of a text, and the symbols, ``BLANK`` first.

    Args:
        splits: Split name -> dataset.
        label: A column of texts, or of classes whose names are spelled.
        names: New names of the classes, as for ``renamed``.

    Raises:
        DataError: When the column holds neither, or a text is missing or empty.
    """
    feature = next(iter(splits.values())).features[label]
    if isinstance(feature, ClassLabel):
        spelled = renamed(feature.names, names)
        texts = {split: [spelled[index] for index in data[label][:]] for split, data in splits.items()}
    elif isinstance(feature, Value) and "string" in feature.dtype:
        texts = {split: data[label][:] for split, data in splits.items()}
    else:
        raise DataError(
            f"The label column {label!r} holds {words_of(feature)}, but ctc needs texts, or classes to spell."
        )
    for split, rows in texts.items():
        for row, text in enumerate(rows):
            if not text:
                raise DataError(f"Row {row} of {split} has no transcript in {label!r}. Write one, or drop the row.")
    symbols = (BLANK, *sorted({character for rows in texts.values() for text in rows for character in text}))
    place = {symbol: index for index, symbol in enumerate(symbols)}
    lists = {split: [[place[character] for character in text] for text in rows] for split, rows in texts.items()}
    return _replaced(splits, label, lists, Value("int64")), symbols


def renamed(names: Sequence[str], new: Mapping[str, str] | Sequence[str] | None) -> tuple[str, ...]:
    """Names of the classes after renaming.

    Args:
        names: As they are.
        new: As many in their order, or old -> new for some; None leaves them.

    Raises:
        SettingsError: When a name is unknown, their number differs, or two classes would have one name.
    """
    if new is None:
        return tuple(names)
    if isinstance(new, Mapping):
        known = {str(old): str(name) for old, name in new.items()}
        if unknown := [old for old in known if old not in names]:
            raise SettingsError(
                f"There is no class {', '.join(unknown)} to rename; there are {', '.join(names)}."
                f"{did_you_mean(unknown[0], names)}"
            )
        found = tuple(known.get(name, name) for name in names)
    elif isinstance(new, str) or not isinstance(new, Sequence):
        raise SettingsError(f"The new names of classes are {new!r}; give a list of names, or old -> new.")
    elif len(new) == len(names):
        found = tuple(map(str, new))
    else:
        raise SettingsError(f"{len(new)} new names are given for {len(names)} classes ({', '.join(names)}).")
    if len(set(found)) < len(found):
        raise SettingsError(f"Two classes would have one name: {', '.join(found)}.")
    return found


LABEL_KINDS: Mapping[str, Callable[..., tuple[dict[str, Dataset], tuple[str, ...]]]] = {
    "regression": with_numbers,
    "multi_label": with_class_lists,
    TOKEN_CLASSIFICATION: with_word_classes,
    "ctc": with_transcripts,
}
"""Type of task -> what reads its labels: (splits, column, ...) -> splits and names. ``classification`` has its own."""


def is_number(feature: object) -> bool:
    """Whether a column of this feature type holds numbers."""
    return isinstance(feature, Value) and feature.dtype.startswith(("int", "uint", "float", "bool"))


def is_list(feature: object) -> bool:
    """Whether a column of this feature type holds lists."""
    return isinstance(feature, List | list)


def item_of(feature: Any) -> Any:
    """The feature type of a list's items."""
    return feature[0] if isinstance(feature, list) else feature.feature


def _class_lists(splits: Splits, label: str, wanted: str) -> tuple[dict[str, list[list[int]]], tuple[str, ...]]:
    features = {split: data.features[label] for split, data in splits.items()}
    items: dict[str, Any] = {
        split: item_of(feature) if is_list(feature) else None for split, feature in features.items()
    }
    feature = next(iter(features.values()))
    classes = all(isinstance(item, ClassLabel) for item in items.values())
    plain = all(
        isinstance(item, Value) and item.dtype.startswith(("int", "uint", "string", "large_string"))
        for item in items.values()
    )
    if not (classes or plain):
        raise DataError(
            f"The label column {label!r} holds {words_of(feature)}, but {wanted} are lists of classes, texts or whole "
            "numbers. Give another column, or another type of task."
        )
    rows = {split: [list(value or ()) for value in data[label][:]] for split, data in splits.items()}
    if classes:
        names = shared_names({split: item.names for split, item in items.items()}, label)
        of_split = {split: places(item.names, names) for split, item in items.items()}
        lists = {split: [[of_split[split][value] for value in row] for row in rows[split]] for split in rows}
        return lists, tuple(names)
    found = sorted(set(_items(rows.values())))
    place = {value: index for index, value in enumerate(found)}
    return (
        {split: [[place[value] for value in row] for row in lists] for split, lists in rows.items()},
        tuple(map(str, found)),
    )


def _items(splits: Iterable[list[list[Any]]]) -> Iterable[Any]:
    return (value for rows in splits for row in rows for value in row)


def _replaced(splits: Splits, label: str, values: Mapping[str, list], item: Value) -> dict[str, Dataset]:
    return {
        split: data.remove_columns(label).add_column(label, values[split], feature=List(item))
        for split, data in splits.items()
    }


def words_of(feature: object) -> str:
    """What a column holds, for people."""
    if is_list(feature):
        return f"lists of {words_of(item_of(feature))}"
    return getattr(feature, "dtype", None) or type(feature).__name__
