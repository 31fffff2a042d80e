"""Classes that a network learns beside those it knows: counted behind these, by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from datasets import ClassLabel

from hf_transfer_kit.data.class_names import places
from hf_transfer_kit.data.labels import class_values, replaced
from hf_transfer_kit.data.loading import LoadedData
from hf_transfer_kit.data.stored_splits import SPLIT_NAMES
from hf_transfer_kit.errors import DataError


def classes_to_add(old: Sequence[str], data: LoadedData, *, needed: bool = True) -> tuple[str, ...]:
    """Classes of ``data`` that are not among ``old``, in the data's order.

    Args:
        old: Names of the classes that a network knows.
        data: Labelled rows.
        needed: Whether there must be one.

    Raises:
        DataError: When a class differs from an old one in case or space alone, when it is a number that is an old
            class's name too, or when there is none to add and one
            is needed.
    """
    new = tuple(name for name in data.label_names if name not in old)
    if data.numbered_classes and (same := [name for name in data.label_names if name in old]):
        raise DataError(
            f"The labels of {data.name} are numbers, {', '.join(same[:3])} among them, and classes of the network have "
            "such names: whether they are the same classes cannot be told. Write the classes' names into the column."
        )
    plain = {_plain(name): name for name in old}
    if alike := next((name for name in new if _plain(name) in plain), None):
        raise DataError(
            f"{data.name} has the class {alike!r} and the network the class {plain[_plain(alike)]!r}: one class in two "
            "spellings, or two classes? Write the network's name into the data, or give the new class one that differs "
            "in more than case and space."
        )
    if needed and not new:
        raise DataError(
            f"{data.name} has no class that the network does not know ({', '.join(old[:10])}"
            f"{', ...' if len(old) > 10 else ''}), so none would be added. To train it on, leave --old_classes out."
        )
    return new


def with_classes(data: LoadedData, names: Sequence[str]) -> LoadedData:
    """The same rows with classes counted as in a longer list, by name.

    Raises:
        DataError: When a class of the data is not in the list.
    """
    if unknown := [name for name in data.label_names if name not in names]:
        raise DataError(
            f"{data.name} has the class {', '.join(map(repr, unknown[:5]))}, which is none of {', '.join(names[:10])}"
            f"{', ...' if len(names) > 10 else ''}. Leave its rows out, or rename it."
        )
    place = places(data.label_names, names)
    feature = ClassLabel(names=list(names))
    splits = {}
    for split in SPLIT_NAMES:
        rows = getattr(data, split)
        values = [place[int(value)] for value in class_values(rows, data.known_label_column)]
        splits[split] = replaced(rows, data.known_label_column, values, feature)
    return replace(data, **splits, label_names=tuple(names))


def _plain(name: str) -> str:
    return " ".join(name.split()).casefold()
