"""Features and classes as arrays that can be fitted, whatever they come as."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from torch import Tensor

from hf_transfer_kit.errors import DataError
from hf_transfer_kit.features.cached_features import CachedFeatures
from hf_transfer_kit.features.row_blocks import all_finite

Features: TypeAlias = CachedFeatures | np.ndarray | Tensor
LabelledRows: TypeAlias = CachedFeatures | tuple[Features, Sequence[int] | np.ndarray]


@dataclass(frozen=True, eq=False)
class Rows:
    """Checked rows.

    Args:
        features: Finite, float32 or float64, of shape (rows, D).
        labels: int64, of shape (rows,).
    """

    features: np.ndarray
    labels: np.ndarray

    @property
    def width(self) -> int:
        """Number of features, D."""
        return self.features.shape[1]


def feature_rows(features: Features) -> np.ndarray:
    """Features as float32 (float64 stays) of shape (rows, D).

    Raises:
        DataError: When they have another number of axes, or values that are not finite.
    """
    if isinstance(features, CachedFeatures):
        features = features.features
    elif isinstance(features, Tensor):
        features = features.detach().cpu().float().numpy()
    array = number_array(features, what="Features")
    if array.dtype != np.float64:
        array = array.astype(np.float32, copy=False)
    if array.ndim != 2:
        raise DataError(
            f"Features have the shape {array.shape}, but a probe reads one row of numbers each: (rows, D). Cache them "
            "with layer='pooled' or pooling='mean'."
        )
    if not all_finite(array):
        row = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
        raise DataError(f"Features of row {row} are not finite. Compute them in float32, or leave the row out.")
    return array


def number_array(values: Any, *, what: str) -> np.ndarray:
    """An array of real numbers.

    Args:
        values: Whatever numpy takes.
        what: It is, for the sentence.

    Raises:
        DataError: When it holds texts, complex numbers, or rows of different lengths.
    """
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise DataError(f"{what} are no table of numbers ({error}). Give every row as many.") from error
    if array.dtype.kind not in "biuf":
        raise DataError(f"{what} are of type {array.dtype}, not real numbers. Give an array of shape (rows, D).")
    return array


def labelled_rows(
    features: Features, labels: Any | None, *, name: str, width: int | None = None, training: bool = False
) -> Rows:
    """Features with their classes.

    Args:
        features: Of shape (rows, D).
        labels: Of shape (rows,); None takes those cached with the features.
        name: Of the argument, for errors.
        width: D that is expected.
        training: Whether two classes or more are needed.

    Raises:
        DataError: When they do not fit each other.
    """
    if labels is None:
        if not isinstance(features, CachedFeatures):
            raise DataError(f"{name} has no labels: give the class of each row beside the features.")
        labels = features.labels
    array = feature_rows(features)
    found = np.asarray(labels.cpu() if isinstance(labels, Tensor) else labels)
    if found.ndim != 1 or not np.issubdtype(found.dtype, np.integer) or (len(found) and found.min() < 0):
        raise DataError(
            f"The labels of {name} have the shape {found.shape} and type {found.dtype}; a probe needs one class index "
            "a row, 0 or more."
        )
    if len(found) != len(array) or not len(found):
        raise DataError(f"{name} has {len(array)} rows of features and {len(found)} labels; give one label for each.")
    if width is not None and array.shape[1] != width:
        raise DataError(f"{name} has {array.shape[1]} features a row, but the training rows {width}. Use one layer.")
    if training and len(np.unique(found)) < 2:
        raise DataError(f"All rows of {name} are of class {found[0]}; a probe needs two classes or more.")
    return Rows(array, found.astype(np.int64))
