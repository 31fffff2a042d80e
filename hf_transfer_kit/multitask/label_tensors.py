"""Labels of several rows as one tensor, for each type of task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hf_transfer_kit.data.collating import NOT_LABELLED
from hf_transfer_kit.data.labels import NO_LABEL
from hf_transfer_kit.errors import DataError

PLACES_OF_TOKENS = ("input_ids", "attention_mask")
"""The inputs, of shape (R, T), that say where a row's tokens stand."""


def numbers_of(label: Any, task: str) -> np.ndarray:
    """A label as numbers, float64 of shape (), (C,) or (T,); None becomes NaN.

    Raises:
        DataError: When it is no number and no list of numbers.
    """
    try:
        return np.asarray(label, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"A label of {task} is {label!r}, but labels must be numbers or lists of numbers. Turn names into class "
            "indices first."
        ) from error


def is_missing(numbers: np.ndarray, kind: str) -> bool:
    """Whether a label says nothing: None or NaN, or a list of these; among classes also -100 and -1, of lists -100.

    Numbers to predict have no such value: -100 is one of them.

    Args:
        numbers: The label, of any shape.
        kind: Type of the task.
    """
    nothing = np.isnan(numbers)
    if kind != "regression":
        nothing |= numbers == NOT_LABELLED
    if kind == "classification":
        nothing |= numbers == NO_LABEL
    # An empty list is a label of ctc: silence.
    return numbers.size > 0 and bool(nothing.all())


def class_labels(task: str, labels: Sequence[np.ndarray], classes: int | None, inputs: Mapping[str, Tensor]) -> Tensor:
    """Class indices, int64 of shape (R,); or, of a network that said them, logits, float32 of shape (R, C)."""
    if all(label.ndim == 1 for label in labels):
        width = labels[0].size if classes is None else classes
        fits = all(label.shape == (width,) and np.isfinite(label).all() for label in labels)
        _check(task, fits, f"one class index, or {width} finite logits, for each row", labels)
        return torch.from_numpy(np.stack(labels)).float()
    _check(task, all(label.ndim == 0 for label in labels), "one class index for each row, or logits for all", labels)
    return _indices(task, np.stack(labels), classes)


def number_labels(task: str, labels: Sequence[np.ndarray], classes: int | None, inputs: Mapping[str, Tensor]) -> Tensor:
    """Numbers to predict, float32 of shape (R,), or (R, C) where rows have C each, NaN where one of them is missing."""
    fits = len({label.shape for label in labels}) == 1 and not any(np.isinf(label).any() for label in labels)
    wanted = "a finite number for each row" if classes in (None, 1) else f"{classes} finite numbers for each row"
    fits = fits and (classes is None or max(1, labels[0].size) == classes)
    _check(task, fits, wanted, labels)
    return torch.from_numpy(np.stack(labels)).float()


def yes_no_labels(task: str, labels: Sequence[np.ndarray], classes: int | None, inputs: Mapping[str, Tensor]) -> Tensor:
    """For each class whether it holds, float32 of shape (R, C), in [0, 1]; NaN where that is not known (None, -100)."""
    width = labels[0].size if classes is None else classes
    labels = [np.where(label == NOT_LABELLED, np.nan, label) for label in labels]
    fits = all(label.shape == (width,) and (((label >= 0) & (label <= 1)) | np.isnan(label)).all() for label in labels)
    _check(task, fits, f"{width} numbers from 0 to 1 for each row, None where one is not known", labels)
    return torch.from_numpy(np.stack(labels)).float()


def token_labels(task: str, labels: Sequence[np.ndarray], classes: int | None, inputs: Mapping[str, Tensor]) -> Tensor:
    """Classes of tokens, int64 of shape (R, T), each where its token stands and -100 where none does.

    Args:
        task: The task.
        labels: Classes of each row's tokens; -100, NaN or None for tokens without.
        classes: Number of classes.
        inputs: ``PLACES_OF_TOKENS`` of these rows, as far as they are there. T is that of ``input_ids``, and
            ``attention_mask`` says where tokens stand; without ``input_ids`` labels are padded on the right.

    Raises:
        DataError: When a row has more or fewer labels than tokens.
    """
    _check(task, all(label.ndim == 1 for label in labels), "a class index for each token of a row", labels)
    whole = [np.where(np.isnan(label), NOT_LABELLED, label) for label in labels]
    if "input_ids" not in inputs:
        return _right_padded(task, whole, classes)
    tokens = inputs["input_ids"].shape[1]
    masks = inputs.get("attention_mask", torch.ones_like(inputs["input_ids"])).bool().cpu().numpy()  # (R, T)
    padded = np.full((len(whole), tokens), float(NOT_LABELLED))
    for row, (label, mask) in enumerate(zip(whole, masks, strict=True)):
        if len(label) == mask.sum():
            padded[row, mask] = label
        elif len(label) == tokens:  # padded before, together with the row
            padded[row] = label
        else:
            raise DataError(
                f"A row has {len(label)} labels of {task} for {mask.sum()} tokens, but needs one for each, -100 for "
                "special tokens. Align them where the row is tokenized (word_ids())."
            )
    return _indices(task, padded, classes)


def ctc_labels(task: str, labels: Sequence[np.ndarray], classes: int | None, inputs: Mapping[str, Tensor]) -> Tensor:
    """Transcripts as token indices, int64 of shape (R, L), L the longest, padded with -100 on the right."""
    _check(task, all(label.ndim == 1 for label in labels), "a list of token indices for each row", labels)
    return _right_padded(task, labels, classes)


LABEL_TENSORS: Mapping[str, Callable[[str, Sequence[np.ndarray], int | None, Mapping[str, Tensor]], Tensor]] = {
    "classification": class_labels,
    "multi_label": yes_no_labels,
    "regression": number_labels,
    "token_classification": token_labels,
    "ctc": ctc_labels,
}
"""Type of task -> what makes a tensor of its labels (task's name, labels, number of classes if known, places of their
tokens) -> tensor."""


def _right_padded(task: str, labels: Sequence[np.ndarray], classes: int | None) -> Tensor:
    padded = np.full((len(labels), max(map(len, labels))), float(NOT_LABELLED))
    for row, label in enumerate(labels):
        padded[row, : len(label)] = label
    return _indices(task, padded, classes)


def _indices(task: str, values: np.ndarray, classes: int | None) -> Tensor:
    """The values as int64, each an index of a class or -100."""
    highest = np.inf if classes is None else classes - 1
    wrong = values[((values < 0) | (values > highest) | (values % 1 != 0)) & (values != NOT_LABELLED)]
    if wrong.size:
        allowed = "whole numbers from 0" if classes is None else f"its {classes} classes, 0 to {classes - 1}"
        raise DataError(
            f"A label of {task} is {wrong[0]:g}, but labels must be {allowed}. Correct it, or mark it as missing with "
            "-100."
        )
    return torch.from_numpy(values.astype(np.int64))


def _check(task: str, fits: bool, wanted: str, labels: Sequence[np.ndarray]) -> None:
    if not fits:
        raise DataError(
            f"{task} needs {wanted}, but its labels are {', '.join(str(label.tolist()) for label in labels[:3])}"
            f"{', ...' if len(labels) > 3 else ''}. Correct the column, or the type or num_labels of the task."
        )
