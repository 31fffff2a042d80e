"""Rows of several tasks packed into one batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.multitask.label_tensors import LABEL_TENSORS, PLACES_OF_TOKENS, is_missing, numbers_of
from hf_transfer_kit.multitask.source import TaskRow
from hf_transfer_kit.near_names import did_you_mean

_OF_TASKS = ("rows", "labels")


class MultiTaskCollator:
    """Rows of several tasks into one packed batch, a flat dict of tensors.

    ============================ ======================================================================
    ``INPUT__NAME``              tensor NAME of the rows of an input, as its collator makes it: (N, ...)
    ``TASK__rows``               which of its input's rows are labelled for a task: int64 (R,)
    ``TASK__labels``             their labels: int64 (R,) for classes, float32 (R,) or (R, C) for regression, float32
                                 (R, C) for several labels, int64 (R, T) for tokens and (R, L) for ctc, both padded with
                                 -100
    ``labels``                   the same once more, where a single task is labelled: Trainer evaluates with these
    ============================ ======================================================================

    Rows of one input stand in one tensor, in the order in which they came, and a row labelled for several tasks stands
    there once. Missing labels (None or NaN, of classes also -100 and -1) are left out, and a task without labels in the
    batch has no keys. The input with the most rows comes first: what takes a batch's size from its first tensor gets
    the largest.

    Args:
        collators: Input -> what makes a batch of its rows, given without labels.
        tasks: Task -> its settings, as in ``MultiTaskConfig.tasks``: ``type``, ``num_labels`` (labels are checked
            against it), ``input`` (the only one by default).

    Raises:
        SettingsError: When there is no collator, or a task's type or input is unknown.

    Example:
        >>> tasks = {"class": {"type": "classification", "num_labels": 3}}
        >>> rows = MultiTaskDataset({"pictures": Source(train, {"class": "labels"})})
        >>> batch = MultiTaskCollator({"default": collator}, tasks)([rows[0], rows[1]])
        >>> {name: tuple(tensor.shape) for name, tensor in batch.items()}
        {'default__pixel_values': (2, 3, 32, 32), 'class__rows': (2,), 'class__labels': (2,), 'labels': (2,)}
    """

    @checked_arguments(own_words_first=True)
    def __init__(
        self,
        collators: Mapping[str, Callable[[list[Mapping[str, Any]]], Mapping[str, Any]]],
        tasks: Mapping[str, Mapping[str, Any]],
    ) -> None:
        if not isinstance(collators, Mapping) or not collators or not all(map(callable, collators.values())):
            raise SettingsError(
                "collators must name one for each input, such as {'default': DataCollatorWithPadding(tokenizer)}, but "
                f"is {collators!r}."
            )
        for task, settings in tasks.items():
            if not isinstance(settings, Mapping):
                raise SettingsError(f"{task} has the settings {settings!r}; give a mapping with its type.")
        self.collators = collators
        self.tasks = tasks
        only = next(iter(collators)) if len(collators) == 1 else "default"
        self._input_of = {task: settings.get("input") or only for task, settings in tasks.items()}
        for task, settings in tasks.items():
            kind = settings.get("type")
            if kind not in LABEL_TENSORS:
                raise SettingsError(
                    f"{task} has type={kind!r}, which is unknown; choose {', '.join(LABEL_TENSORS)}."
                    f"{did_you_mean(kind, LABEL_TENSORS)}"
                )
            if self._input_of[task] not in collators:
                raise SettingsError(
                    f"{task} reads the input {self._input_of[task]!r}, which has no collator; there are those of "
                    f"{', '.join(collators)}. Add one to collators, or give the task another input."
                )

    def __call__(self, rows: Sequence[TaskRow]) -> dict[str, Tensor]:
        by_input: dict[str, list[TaskRow]] = {}
        for row in rows:
            self._check(row)
            by_input.setdefault(row.input, []).append(row)
        inputs = {
            name: self._collated(name, by_input[name])
            for name in sorted(by_input, key=lambda name: len(by_input[name]), reverse=True)
        }
        batch = {f"{name}__{key}": value for name, tensors in inputs.items() for key, value in tensors.items()}
        for task, name in self._input_of.items():
            if name in inputs:
                batch |= self._labelled(task, by_input[name], inputs[name])
        labels = [batch[f"{task}__labels"] for task in self.tasks if f"{task}__labels" in batch]
        if len(labels) == 1:
            batch["labels"] = labels[0]
        return batch

    def _collated(self, name: str, rows: list[TaskRow]) -> dict[str, Any]:
        tensors = dict(self.collators[name]([row.values for row in rows]))
        reserved = [key for key in _OF_TASKS if key in tensors]
        if reserved:
            raise SettingsError(
                f"The collator of the input {name!r} makes {', '.join(map(repr, reserved))}, a name that belongs to "
                "tasks. Give one that makes inputs only; labels are collated by the kit."
            )
        return tensors

    def _labelled(self, task: str, rows: list[TaskRow], inputs: Mapping[str, Any]) -> dict[str, Tensor]:
        """Positions and labels of the rows that are labelled for a task; nothing when none is."""
        settings = self.tasks[task]
        found = [
            (position, numbers)
            for position, row in enumerate(rows)
            if task in row.labels and not is_missing(numbers := numbers_of(row.labels[task], task), settings["type"])
        ]
        if not found:
            return {}
        positions = torch.tensor([position for position, _ in found])
        own = {name: inputs[name][positions] for name in PLACES_OF_TOKENS if name in inputs}
        tensor = LABEL_TENSORS[settings["type"]]
        labels = tensor(task, [numbers for _, numbers in found], settings.get("num_labels"), own)
        return {f"{task}__rows": positions, f"{task}__labels": labels}

    def _check(self, row: object) -> None:
        if not isinstance(row, TaskRow):
            raise DataError(
                f"MultiTaskCollator packs rows of a Source, but got a {type(row).__name__}. Wrap the dataset, also one "
                "to evaluate on: Source(dataset, {'task': 'label'})."
            )
        if row.input not in self.collators:
            raise DataError(
                f"A row goes into the input {row.input!r}, which has no collator; there are those of "
                f"{', '.join(self.collators)}. Give its Source one of these as input."
            )
        for task in row.labels:
            if task not in self._input_of:
                raise DataError(
                    f"A row is labelled for {task}, which is no task of the model; its tasks are "
                    f"{', '.join(self.tasks)}. Rename it in the Source, or give the model the task."
                )
            if self._input_of[task] != row.input:
                raise DataError(
                    f"A row labelled for {task} goes into the input {row.input!r}, but the task reads "
                    f"{self._input_of[task]!r}. Give both the same input."
                )
