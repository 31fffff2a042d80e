"""A labelled dataset as one of several: which tasks its rows are labelled for, and which input they go into."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from torch.utils.data import Dataset as TorchDataset

from hf_transfer_kit.data.labels import LABEL_COLUMNS
from hf_transfer_kit.errors import DataError, SettingsError


class TaskRow(NamedTuple):
    """A row's inputs and its labels. No dict, so that Trainer's removal of unused columns lets it pass whole.

    Args:
        input: Name of the input that the row goes into.
        values: What that input's collator gets of it.
        labels: Task -> label; missing ones are None or NaN, of classes also -100.

    Example:
        >>> row = Source(train, {"class": "labels"})[0]
        >>> isinstance(row, TaskRow), row.input, list(row.values)
        (True, 'default', ['pixel_values'])
    """

    input: str
    values: Mapping[str, Any]
    labels: Mapping[str, Any]


class Source(TorchDataset):
    """A dataset, the tasks that its rows are labelled for, and the input that they go into.

    It is a dataset itself, of rows in their own order, for evaluating on one task: ``eval_dataset={"trec":
    Source(test, {"trec": "label"})}``. Rows labelled for several tasks are evaluated on as one such source for each.

    Args:
        dataset: Map-style dataset (``datasets``, torch, a list) of rows, or an iterable one for streams.
        tasks: Task -> column of its labels; several for rows labelled for several tasks, none for rows without labels.
            Each row has all the columns; a label that it lacks is None or NaN, of classes also -100.
        input: Name of the input.
        columns: What the input's collator gets of a row; None is all but the columns of labels (those of ``tasks``, and
            ``label``, ``labels`` and ``label_ids``).

    Raises:
        DataError: When rows have no column of that name.

    Example:
        >>> source = Source(train, {"class": "labels"})
        >>> len(source), source[0].labels
        (12, {'class': 0})
    """

    def __init__(
        self,
        dataset: Any,
        tasks: Mapping[str, str],
        input: str = "default",
        *,
        columns: Collection[str] | None = None,
    ) -> None:
        self.dataset = dataset
        self.tasks = tasks
        self.input = input
        self.columns = columns
        found = getattr(dataset, "column_names", None)
        if found is None and self.map_style and len(dataset):
            found = dataset[0]
        if found is not None:
            self._check_columns(found)

    @property
    def map_style(self) -> bool:
        """Whether rows are read by number; streams are not."""
        return hasattr(self.dataset, "__len__") and hasattr(self.dataset, "__getitem__")

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, row: int) -> TaskRow:
        return self.task_row(self.dataset[row])

    def __getitems__(self, rows: Sequence[int]) -> list[TaskRow]:
        """Several rows at once, as torch's loader asks for them."""
        if hasattr(self.dataset, "__getitems__"):
            return [self.task_row(row) for row in self.dataset.__getitems__(rows)]
        return [self[row] for row in rows]

    def task_row(self, row: Mapping[str, Any]) -> TaskRow:
        """Inputs and labels of a row of the dataset, apart.

        Raises:
            DataError: When it lacks a column.
        """
        self._check_columns(row)
        return TaskRow(
            self.input,
            {name: row[name] for name in self.input_columns(row)},
            {task: row[column] for task, column in self.tasks.items()},
        )

    def input_columns(self, found: Collection[str]) -> list[str]:
        """Which of the columns ``found`` are inputs."""
        if self.columns is not None:
            return list(self.columns)
        labels = LABEL_COLUMNS.union(self.tasks.values())
        return [name for name in found if name not in labels]

    def _check_columns(self, found: Collection[str]) -> None:
        wanted = {f"the labels of {task}": column for task, column in self.tasks.items()}
        wanted |= {f"columns={list(self.columns or ())}": column for column in self.columns or ()}
        for what, column in wanted.items():
            if column not in found:
                raise DataError(
                    f"There is no column {column!r}, named for {what}; the columns are {', '.join(map(str, found))}. "
                    "Name one of these."
                )


def check_sources(sources: Mapping[str, Source]) -> None:
    """Refuses no sources, and those that teach nothing.

    Raises:
        DataError: With the name of the source.
        SettingsError: When something is no ``Source``.
    """
    if not sources:
        raise DataError("There is no source. Give at least one: {'name': Source(dataset, {'task': 'label'})}.")
    for name, source in sources.items():
        if not isinstance(source, Source):
            raise SettingsError(
                f"{name} is a {type(source).__name__}, but must be a Source: Source(dataset, {{'task': 'label'}})."
            )
        if not source.tasks:
            raise DataError(f"{name} is labelled for no task. Name the columns of its labels, or leave it out.")
