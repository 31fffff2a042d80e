"""Seeded splits and subsets, stratified where every row has a label."""

from __future__ import annotations

import math

import numpy as np
from datasets import Dataset

from hf_transfer_kit.data.labels import all_labelled, class_values
from hf_transfer_kit.errors import DataError


def check_size(what: str, size: float | int) -> None:
    """Refuses what is neither a number of rows nor a share of them.

    Raises:
        DataError: When it is no share in (0, 1) and no whole number, or 1.0, which might be either.
    """
    is_number = isinstance(size, int | float) and not isinstance(size, bool)
    if not is_number or not (0 < size < 1 or (1 <= size < math.inf and size == int(size) and repr(size) != "1.0")):
        raise DataError(f"{what} of {size!r} is neither a whole number of rows nor a share above 0 and below 1.")


def split_off(data: Dataset, label: str | None, size: float | int, *, seed: int, what: str) -> tuple[Dataset, Dataset]:
    """Cuts ``size`` rows (a count, or a share in (0, 1)) off, the same share of each class where all rows have one.

    Returns:
        What remains and what was cut off, rows in their old order.

    Raises:
        DataError: When the size is out of range, or a class has too few rows.
    """
    from sklearn.model_selection import train_test_split

    rows = len(data)
    check_size(what, size)
    count = round(size * rows) if size < 1 else int(size)
    if not 0 < count < rows:
        raise DataError(
            f"{what} of {size} cannot be cut from {rows} rows: give a number from 1 to {rows - 1}, or a share."
        )
    classes = class_values(data, label) if label is not None and all_labelled(data, label) else None
    if classes is not None:
        _check_shares(classes, data.features[label].names, count, what=what)
    keep, cut = train_test_split(np.arange(rows), test_size=count, stratify=classes, random_state=seed)
    if classes is not None:
        keep, cut = _with_rare_classes(classes, keep, cut)
    return data.select(np.sort(keep)), data.select(np.sort(cut))


def subset(data: Dataset, label: str | None, size: float | int, *, seed: int) -> tuple[Dataset, Dataset | None]:
    """``size`` rows to train on, cut off as by ``split_off``, and the rest of the rows (None when there is none).

    Raises:
        DataError: When there are fewer rows than asked for.
    """
    rows = len(data)
    if isinstance(size, bool) or not isinstance(size, int | float):
        raise DataError(f"train_size={size!r} is neither a whole number of rows nor a share such as 0.1.")
    if isinstance(size, float) and not 0 < size <= 1:
        raise DataError(f"train_size={size} is no share in (0, 1]; for rows give a whole number.")
    count = round(size * rows) if isinstance(size, float) else size
    if count <= 0:
        raise DataError(f"train_size={size} leaves nothing to train on: give a number from 1 to {rows}, or a share.")
    if count > rows:
        raise DataError(f"train_size={size} asks for more rows than there are: {rows} can be trained on.")
    if count == rows:
        return data, None
    rest, chosen = split_off(data, label, count, seed=seed, what="train_size")
    return chosen, rest


def make_splits(
    train: Dataset,
    validation: Dataset | None,
    test: Dataset | None,
    label: str | None,
    *,
    train_size: float | int | None,
    validation_size: float | int,
    test_size: float | int,
    seed: int,
) -> dict[str, Dataset]:
    """Train, validation and test, made where missing; a test split that is given is never mixed with the others.

    With ``train_size`` the validation rows come from the labelled rows that are not trained on, as many as are
    trained on at most (never fewer than 100 where they exist): a user with few labels has few for validation too.

    Raises:
        DataError: When the rows do not suffice.
    """
    if test is None:
        train, test = split_off(train, label, test_size, seed=seed, what="test_size")
    if train_size is not None:
        pool = len(train)
        train, rest = subset(train, label, train_size, seed=seed)
        if validation is None and rest is not None:
            wanted = round(validation_size * pool) if validation_size < 1 else int(validation_size)
            count = min(wanted, max(100, len(train)), len(rest))
            classes = (
                len(np.unique(class_values(rest, label))) if label is not None and all_labelled(rest, label) else 1
            )
            if count >= classes:
                same = count == len(rest) or len(rest) - count < classes
                validation = rest if same else split_off(rest, label, count, seed=seed, what="validation_size")[1]
    if validation is None:
        train, validation = split_off(train, label, validation_size, seed=seed, what="validation_size")
    return {"train": train, "validation": validation, "test": test}


def _with_rare_classes(classes: np.ndarray, keep: np.ndarray, cut: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is kept and cut off with each class of three rows or more in the latter; sizes stay.

    Shares of small classes round to nothing: such a class gets the place of a row of the largest.
    """
    counts = np.bincount(classes)
    for index in np.flatnonzero(counts >= 3):
        if (classes[cut] == index).any():
            continue
        own = np.bincount(classes[cut]).argmax()
        given, taken = np.flatnonzero(classes[keep] == index)[0], np.flatnonzero(classes[cut] == own)[0]
        keep[given], cut[taken] = cut[taken], keep[given]
    return keep, cut


def _check_shares(classes: np.ndarray, names: list[str], count: int, *, what: str) -> None:
    """Refuses to cut ``count`` rows off when a class could not be on both sides."""
    counts = np.bincount(classes)
    small = [names[index] for index in np.flatnonzero((counts > 0) & (counts < 2))]
    if small:
        raise DataError(
            f"{what}: the class {', '.join(map(repr, small))} has a single row, which cannot be on both sides of a "
            "split. Give more rows of it, or remove it."
        )
    rows, present = len(classes), int((counts > 0).sum())
    if min(count, rows - count) < present:
        raise DataError(
            f"{what}: {count} of {rows} rows cannot hold each of the {present} classes on both sides. Give a size from "
            f"{present} to {rows - present}, or a share from {present / rows:.3g} to {1 - present / rows:.3g}."
        )
