"""Several labelled datasets read as one, in exact proportions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, cast

import numpy as np
import torch
from torch.utils.data import Dataset as TorchDataset

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.multitask.mixing import check_seed, epoch_rows, mixing_shares, whole_counts
from hf_transfer_kit.multitask.source import Source, TaskRow, check_sources


class MultiTaskDataset(TorchDataset):
    """Rows of several sources in exact proportions, for ``MultiTaskCollator``.

    Every epoch holds the same number of rows of each source. A source is read round by round, each time in a new order
    and each row once, and an epoch goes on where the last one ended. Which row an index means depends on ``seed`` and
    the epoch alone: samplers, workers, several processes and resumed runs agree on it. ``MultiTaskEpochs`` tells the
    epoch; without it every epoch may be the first again. Indices are in mixed order already, so Trainer's random and
    sequential samplers both will do.

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

    Example:
        >>> photos, drawings = Source(train, {"real": "labels"}), Source(target, {"drawn": "labels"})
        >>> rows = MultiTaskDataset({"photos": photos, "drawings": drawings}, mixing="equal", seed=0)
        >>> len(rows), rows[0].input
        (20, 'default')
    """

    @checked_arguments(own_words_first=True)
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
            read = epoch_rows(self.sizes, self.counts, seed=self.seed, epoch=epoch, block=self.block)
            self._read = (epoch, *read)
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
        return cast(list[TaskRow], rows)  # each place is of one source

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
