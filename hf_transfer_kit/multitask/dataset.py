"""Several labelled datasets read as one, in exact proportions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset as TorchDataset

from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.multitask.mixing import check_seed, epoch_rows, mixing_shares, whole_counts

LABEL_COLUMNS = frozenset({"label", "labels", "label_ids"})


class TaskRow(NamedTuple):
    """A row's inputs and its labels. No dict, so that Trainer's removal of unused columns lets it pass whole.

    Args:
        input: Name of the input that the row goes into.
        values: What that input's collator gets of it.
        labels: Task -> label; missing ones are None, NaN or -100.
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
            Each row has all the columns; a label that it lacks is None, NaN or -100.
        input: Name of the input.
        columns: What the input's collator gets of a row; None is all but the columns of labels (those of ``tasks``, and
            ``label``, ``labels`` and ``label_ids``).

    Raises:
        DataError: When rows have no column of that name.
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


class MultiTaskDataset(TorchDataset):
    """Rows of several sources in exact proportions, for ``MultiTaskCollator``.

    Every epoch holds the same number of rows of each source. A source is read round by round, each time in a new order
    and each row once, and an epoch goes on where the last one ended. Which row an index means depends on ``seed`` and
    the epoch alone: samplers, workers, several processes and resumed runs agree on it. ``MultiTaskEpochs`` tells the
    epoch; without it every epoch may be the first again. Indices are in mixed order already, so every sampler of the
    stock Trainer will do.

    With ``mode="per_task"`` each run of ``batch_size`` indices holds rows of one source, and such runs are in random
    order. For batches to be those runs, train with ``train_sampling_strategy="sequential"`` and
    ``per_device_train_batch_size=batch_size``; other batches are refused. Processes get different runs.

    Args:
        sources: Name -> source.
        mixing: How often each source is read: ``"proportional"``, ``"equal"``, ``"temperature"``, or a weight for each
            source (see ``mixing_shares``).
        temperature: Of ``"temperature"``, above 0.
        seed: Of all orders, at least 0.
        rows_per_epoch: Length of an epoch; None is the rows of all sources together, in whole batches if per task.
        mode: ``"mixed"``: rows of all sources in one batch; ``"per_task"``: batches of one task each.
        batch_size: Rows of a batch on one device; for ``"per_task"``.

    Raises:
        DataError: When there is no source, one has no rows, no length or no task, or sources of one input have
            different columns.
        SettingsError: When a setting is unknown or out of its range, weights do not fit the sources, a source gets no
            row of an epoch, or, per task, a source is labelled for several tasks.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        mixing: str | Mapping[str, float] = "proportional",
        *,
        temperature: float = 2.0,
        seed: int = 0,
        rows_per_epoch: int | None = None,
        mode: Literal["mixed", "per_task"] = "mixed",
        batch_size: int | None = None,
    ) -> None:
        check_sources(sources)
        self.sources = sources
        self.sizes = {name: _size(name, source) for name, source in sources.items()}
        _check_common_columns(sources)
        check_seed(seed)
        self.mixing = mixing
        self.seed = seed
        self.mode = mode
        self.block = _block(mode, batch_size, sources)
        self.shares = mixing_shares(self.sizes, mixing, temperature=temperature)
        self.counts = self._counts(rows_per_epoch)
        # Shared memory: workers that stay alive between epochs see what the main process writes.
        self._epoch = torch.zeros((), dtype=torch.long).share_memory_()
        self._read: tuple[int, np.ndarray, np.ndarray] | None = None

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that any source is labelled for."""
        return tuple(dict.fromkeys(task for source in self.sources.values() for task in source.tasks))

    def __len__(self) -> int:
        return sum(self.counts.values())

    def __getitem__(self, index: int) -> TaskRow:
        return self._rows([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[TaskRow]:
        """The rows of a batch at once, as torch's loader asks for them.

        Raises:
            SettingsError: When batches are to be of one task each and this is none.
        """
        if self.mode == "per_task" and indices and min(indices) // self.block != max(indices) // self.block:
            raise SettingsError(
                f"mode='per_task' lays out each task's batch as {self.block} indices in a row, but a batch holds the "
                f"indices {_shown(indices)}. Set train_sampling_strategy='sequential' and "
                f"per_device_train_batch_size={self.block} in TrainingArguments."
            )
        return self._rows(indices)

    def set_epoch(self, epoch: int) -> None:
        """Makes the indices those of epoch ``epoch`` (from 0), whatever was read before."""
        self._epoch.fill_(epoch)

    def rows_of(self, indices: Sequence[int]) -> list[tuple[str, int]]:
        """Source and row in it that each index stands for in this epoch.

        Args:
            indices: Which places of the epoch.

        Raises:
            IndexError: When there is no such place.
        """
        wanted = np.asarray(indices, dtype=np.int64)
        if wanted.size and not (wanted.min() >= 0 and wanted.max() < len(self)):
            raise IndexError(f"An epoch has {len(self)} rows, so not all of these: {_shown(indices)}.")
        epoch = int(self._epoch)
        if self._read is None or self._read[0] != epoch:
            rows = epoch_rows(self.sizes, self.counts, seed=self.seed, epoch=epoch, block=self.block)
            self._read = (epoch, *rows)
        _, numbers, rows = self._read
        names = list(self.sources)
        return [(names[number], row) for number, row in zip(numbers[wanted], rows[wanted].tolist(), strict=True)]

    def _rows(self, indices: Sequence[int]) -> list[TaskRow]:
        wanted = self.rows_of(indices)
        rows: list[TaskRow | None] = [None] * len(wanted)
        for name, source in self.sources.items():
            places = [place for place, (owner, _) in enumerate(wanted) if owner == name]
            if places:
                read = source.__getitems__([wanted[place][1] for place in places])
                for place, row in zip(places, read, strict=True):
                    rows[place] = row
        return rows

    def _counts(self, rows_per_epoch: int | None) -> dict[str, int]:
        block = self.block
        total = rows_per_epoch if rows_per_epoch is not None else -(-sum(self.sizes.values()) // block) * block
        if isinstance(total, bool) or not isinstance(total, int) or total < 1 or total % block:
            batches = f", in whole batches of {block}" if block > 1 else ""
            raise SettingsError(f"rows_per_epoch={total!r} must be a number of rows, at least 1{batches}.")
        counts = {name: count * block for name, count in whole_counts(self.shares, total // block).items()}
        for name, count in counts.items():
            if not count:
                raise SettingsError(
                    f"{name} has {self.sizes[name]} rows and a share of {self.shares[name]:.2g}, which of {total} rows "
                    "an epoch is none, so it would never be read. Raise rows_per_epoch or its weight, mix by "
                    "temperature, or leave it out."
                )
        return counts


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


def _size(name: str, source: Source) -> int:
    if not source.map_style:
        raise DataError(
            f"{name} has no length, and MultiTaskDataset reads rows by number. Use StreamedMultiTaskDataset for "
            "streams."
        )
    if len(source) == 0:
        raise DataError(f"{name} has no rows. Check its split or its filter, or leave it out.")
    return len(source)


def _check_common_columns(sources: Mapping[str, Source]) -> None:
    """Rows of one input go through one collator, which expects the same of each."""
    seen: dict[str, tuple[str, set[str]]] = {}
    for name, source in sources.items():
        columns = set(source[0].values)
        first, expected = seen.setdefault(source.input, (name, columns))
        if columns != expected:
            only = [
                f"only in {owner}: {', '.join(sorted(names))}"
                for owner, names in ((first, expected - columns), (name, columns - expected))
                if names
            ]
            raise DataError(
                f"Rows of {first} and {name} go into one input, {source.input!r}, but have different columns; "
                f"{'; '.join(only)}. Choose those that both have: Source(..., columns=[...])."
            )


def _block(mode: str, batch_size: int | None, sources: Mapping[str, Source]) -> int:
    """How many indices in a row stand for rows of one source."""
    if mode == "mixed":
        if batch_size is not None:
            raise SettingsError(f"batch_size={batch_size} belongs to mode='per_task'. Leave it out for mixed batches.")
        return 1
    if mode != "per_task":
        raise SettingsError(f"mode={mode!r} is unknown; choose 'mixed' or 'per_task'.")
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise SettingsError(
            f"mode='per_task' needs the rows of a batch on one device, at least 1, but batch_size={batch_size!r}. Give "
            "per_device_train_batch_size."
        )
    for name, source in sources.items():
        if len(source.tasks) > 1:
            raise SettingsError(
                f"mode='per_task' gives each batch one task, but rows of {name} are labelled for "
                f"{', '.join(source.tasks)}. Use mode='mixed', or give the dataset as one source for each task."
            )
    return batch_size


def _shown(indices: Sequence[int]) -> str:
    return ", ".join(map(str, indices[:8])) + (", ..." if len(indices) > 8 else "")
