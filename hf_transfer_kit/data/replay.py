"""Replay: a few rows of classes that were learned before, among the rows of new ones (Rebuffi et al. 2017, "iCaRL")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
from torch.utils.data import ConcatDataset, Dataset, Subset

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.data.class_balance import classes_of
from hf_transfer_kit.data.contents import contents_hash
from hf_transfer_kit.data.labels import class_values
from hf_transfer_kit.data.loading import LoadedData
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.logs import get_logger
from hf_transfer_kit.values import MapRows

logger = get_logger(__name__)


@checked_arguments()
def replayed_rows(new: MapRows, old: MapRows, *, per_class: int = 20, seed: int = 0) -> JoinedRows:
    """New rows to train on, and a few old ones behind them.

    Few among many are forgotten nearly as fast as none, and what is new is named too often: train on them balanced and
    with a margin, ``ClassBalance(sampler="balanced", margin=0.75)``.

    Args:
        new: Map-style dataset of rows with ``labels``, of classes counted with the old ones.
        old: The same, of the classes learned before; tokenized or decoded alike.
        per_class: Old rows of each class, drawn; all where there are fewer.
        seed: Of the draw.

    Raises:
        SettingsError: When ``per_class`` is no number of rows.

    Example:
        >>> old = [row for row in train if row["labels"] < 2]
        >>> new = [row for row in train if row["labels"] == 2]
        >>> len(replayed_rows(new, old, per_class=1))
        6
    """
    return JoinedRows([new, ChosenRows(old, few_places(np.array(classes_of(old)), per_class, seed=seed))])


def with_few_rows(data: LoadedData, per_class: int, *, seed: int) -> LoadedData:
    """The same data with few rows to train on: as many of each class, drawn; a class that has fewer is told.

    Args:
        data: Labelled rows.
        per_class: How many, at least 1.
        seed: Of the draw.

    Raises:
        SettingsError: When ``per_class`` is no number of rows.
    """
    classes = class_values(data.train, data.known_label_column)
    kept = few_places(classes, per_class, seed=seed)
    counts = np.bincount(classes[kept], minlength=len(data.label_names))
    fewer = [f"{data.label_names[i]!r} ({counts[i]})" for i in range(len(counts)) if counts[i] < per_class]
    if fewer:
        logger.warning(f"{data.name} has fewer than {per_class} rows to train on of {', '.join(fewer)}: all are taken.")
    given = {split: rows for split, rows in data.given_rows.items() if split != "train"}
    if "train" in data.given_rows:
        given["train"] = tuple(data.given_rows["train"][row] for row in kept)
    return replace(data, train=data.train.select(kept), given_rows=given)


def few_places(classes: np.ndarray, per_class: int, *, seed: int) -> np.ndarray:
    """Rows of each class, at most so many, drawn without repeating; rising, int64.

    Args:
        classes: Class of each row, of shape (rows,).
        per_class: How many, at least 1.
        seed: Of the draw. What is drawn of a class does not depend on the other classes.

    Raises:
        SettingsError: When ``per_class`` is no number of rows.
    """
    if isinstance(per_class, bool) or not isinstance(per_class, int) or per_class < 1:
        raise SettingsError(f"{per_class!r} is no number of rows of each class; give a whole number, at least 1.")
    found = []
    for index in np.unique(classes):
        own = np.flatnonzero(classes == index)
        drawn = np.random.default_rng([seed, int(index)]).permutation(len(own))[:per_class]
        found.append(own[drawn])
    return np.sort(np.concatenate(found))


class ChosenRows(Subset):
    """Some rows of a dataset, in the order in which they are named.

    Args:
        dataset: Map-style dataset of rows with ``labels``.
        indices: Which of its rows.
    """

    def __init__(self, dataset: MapRows, indices: Sequence[int] | np.ndarray) -> None:
        super().__init__(cast(Dataset, dataset), cast(Sequence[int], indices))

    def label(self, row: int) -> int:
        """A row's class, without its input where that can be had."""
        return _label(self.dataset, int(self.indices[row]))

    def fingerprint(self) -> str:
        """32 hexadecimal digits that change with any row, or their order."""
        return contents_hash(["chosen", self.dataset, list(map(int, self.indices))])


class JoinedRows(ConcatDataset):
    """Rows of several datasets, one after the other, each as that dataset gives it.

    Args:
        parts: Map-style datasets of rows with ``labels``.
    """

    def __init__(self, parts: Sequence[MapRows]) -> None:
        super().__init__(cast(Sequence[Dataset], parts))  # map-style rows are all that it asks for

    def label(self, row: int) -> int:
        """A row's class, without its input where that can be had."""
        part = int(np.searchsorted(self.cumulative_sizes, row, side="right"))
        row -= self.cumulative_sizes[part - 1] if part else 0
        return _label(self.datasets[part], row)

    def fingerprint(self) -> str:
        """32 hexadecimal digits that change with any row, or their order."""
        return contents_hash(["joined", *self.datasets])


def _label(rows: Any, row: int) -> int:
    return int(rows.label(row) if hasattr(rows, "label") else rows[row]["labels"])
