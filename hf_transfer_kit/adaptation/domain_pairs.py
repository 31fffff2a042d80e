"""Two datasets read side by side: rows of the source with their labels, rows of the target without."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.data.labels import LABEL_COLUMNS, check_same_classes
from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.options import check_seed
from hf_transfer_kit.values import MapRows
from hf_transfer_kit.values.rows import collated

C = TypeVar("C", bound=Callable[..., Tensor] | None)
TARGET = "target_"
"""What stands before the names of the target's inputs."""
OF_SOURCE = "of_source"
"""Name of what says that a batch of an evaluation is the source's."""


class Pair(NamedTuple):
    """One row of each domain. No dict, so that Trainer's removal of unused columns lets it pass whole."""

    source: Mapping[str, Any]
    target: Mapping[str, Any]
    number: int | None = None
    """Of the target's row, where it is asked for."""


class SourceRow(NamedTuple):
    """A row of the source by itself, in evaluation. No dict, for the same reason."""

    source: Mapping[str, Any]


class SourceRows(TorchDataset):
    """Rows of the source for evaluation: a model whose BatchNorms know two domains reads them as the source's.

    Rows as they are count as the target's. Give it to Trainer as ``eval_dataset`` with ``DomainCollator``.

    Args:
        rows: Map-style dataset of rows with labels.

    Example:
        >>> adapted = DomainAdversarialModel.from_classifier(model, method="dann")
        >>> trainer = Trainer(adapted, args, eval_dataset=SourceRows(test), data_collator=DomainCollator(collator))
        >>> trainer.evaluate()["eval_loss"] > 0
        True
    """

    @checked_arguments(own_words_first=True)
    def __init__(self, rows: MapRows) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> SourceRow:
        return SourceRow(self.rows[index])


class TargetRow(NamedTuple):
    """A row of the target by itself, in training, and its number."""

    target: Mapping[str, Any]
    number: int


class TargetRows(TorchDataset):
    """Rows of the target for methods that need no source (``SOURCE_FREE``), without their labels.

    Args:
        rows: Map-style dataset, with or without labels: those are dropped here.

    Example:
        >>> rows = TargetRows(target)
        >>> batch = DomainCollator(collator)([rows[0], rows[1]])
        >>> sorted(batch)
        ['row_numbers', 'target_pixel_values']
    """

    @checked_arguments(own_words_first=True)
    def __init__(self, rows: MapRows) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> TargetRow:
        return TargetRow(without_labels(self.rows[index], None), index)


class DomainPairs(TorchDataset):
    """A row of the source and a row of the target for each index; as long as the longer of the two.

    Pair ``index`` holds row ``index`` of the longer domain, whose order is the sampler's. The shorter one repeats, in a
    new order each round, so that within a round every row of it comes once. Which pair an index means depends on
    ``seed`` and the epoch alone: samplers, workers, several processes and resumed runs agree on it.
    ``AdversarialSchedule`` tells the epoch; without it every epoch pairs the rows alike.

    Args:
        source: Map-style dataset (``datasets``, torch, a list) of rows with labels.
        target: The same, with or without labels: those are dropped here.
        target_columns: What is kept of a target row; None keeps all but ``label``, ``labels`` and ``label_ids``.
        seed: Of the order of the shorter domain.
        numbered: Whether pairs tell the number of their target row, for methods that label rows (``clusters``).

    Raises:
        DataError: When a domain is empty or has no length, when both name their classes and the names differ, or when
            ``target_columns`` names a column of labels or one that is missing.

    Example:
        >>> len(train), len(target), len(DomainPairs(train, target))
        (12, 8, 12)
    """

    @checked_arguments(own_words_first=True)
    def __init__(
        self,
        source: MapRows,
        target: MapRows,
        *,
        target_columns: Collection[str] | None = None,
        seed: int = 0,
        numbered: bool = False,
    ) -> None:
        for name, rows in (("source", source), ("target", target)):
            if not hasattr(rows, "__len__"):
                raise DataError(
                    f"The {name} has no length, and DomainPairs reads rows by number. Use StreamedDomainPairs for "
                    "streams."
                )
            if len(rows) == 0:
                raise DataError(f"The {name} is empty, but both domains need rows. Check its split or its filter.")
        check_seed("DomainPairs", seed)
        check_same_classes(class_names(source), class_names(target))
        self.source = source
        self.target = target
        self.target_columns = _checked_columns(target_columns, target[0])
        self.seed = seed
        self.numbered = numbered
        # Shared memory: workers that stay alive between epochs see what the main process writes.
        self._epoch = torch.zeros((), dtype=torch.long).share_memory_()

    def __len__(self) -> int:
        return max(len(self.source), len(self.target))

    def __getitem__(self, index: int) -> Pair:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Pair]:
        """The pairs of a batch at once, as torch's loader asks for them."""
        sources, targets = self.rows_of(indices)
        return [
            Pair(
                self.source[source],
                without_labels(self.target[target], self.target_columns),
                target if self.numbered else None,
            )
            for source, target in zip(sources, targets, strict=True)
        ]

    def reshuffle(self, epoch: int) -> None:
        """Pairs the rows anew, as epoch ``epoch`` (from 0) always does."""
        self._epoch.fill_(epoch)

    def rows_of(self, indices: Sequence[int]) -> tuple[list[int], list[int]]:
        """Rows of the source and rows of the target that pairs hold in this epoch.

        Args:
            indices: Which pairs.

        Raises:
            IndexError: When there is no such pair.
        """
        wanted = np.asarray(indices, dtype=np.int64)
        if wanted.size and not (wanted.min() >= 0 and wanted.max() < len(self)):
            raise IndexError(f"There are {len(self)} pairs, so not all of these: {list(indices)}.")
        sources, targets = len(self.source), len(self.target)
        shorter = shuffled_places(wanted, min(sources, targets), seed=(self.seed,), epoch=int(self._epoch))
        return (wanted.tolist(), shorter) if sources >= targets else (shorter, wanted.tolist())


def shuffled_places(wanted: Sequence[int] | np.ndarray, size: int, *, seed: tuple[int, ...], epoch: int) -> list[int]:
    """Row of a dataset that repeats, in a new order each round, beside a longer one.

    Args:
        wanted: Indices of the longer one.
        size: Rows of the shorter one.
        seed: With the epoch and the round it decides the order.
        epoch: From 0.
    """
    return [
        int(_order(size, seed, epoch, around)[place])
        for around, place in zip(*np.divmod(np.asarray(wanted, dtype=np.int64), size), strict=True)
    ]


@lru_cache(maxsize=64)
def _order(size: int, seed: tuple[int, ...], epoch: int, around: int) -> np.ndarray:
    return np.random.default_rng([*seed, epoch, around]).permutation(size)


class DomainCollator:
    """Pairs into one batch: the source under its own names, the target under ``target_`` and its names.

    Rows of the target alone (``TargetRows``), and of numbered pairs, have their numbers beside them. Rows that are no
    pairs (those of an evaluation) go through ``collator`` as they are; a batch of ``SourceRows`` says that it is the
    source's.

    Args:
        collator: What makes a batch of rows of one domain, as Trainer would get it.
        style: What makes of a batch of source images and one of target images, of one shape each, source images in the
            target's style, such as ``in_style_of``; of a batch of pairs alone, before ``change``.
        change: Random change of inputs, (B, ...) -> (B, ...), such as ``strong_view``: applied to each floating-point
            tensor of a batch of pairs but labels, once for the source and once for the target, never to rows of an
            evaluation. Random numbers come from torch's own state, in a worker of the loader from that worker's.
        source_change: Another one for the source, in place of ``change``; None: the same.

    Raises:
        SettingsError: When a change cannot be called.

    Example:
        >>> pairs = DomainPairs(train, target)
        >>> batch = DomainCollator(collator)([pairs[0], pairs[1]])
        >>> sorted(batch)
        ['labels', 'pixel_values', 'target_pixel_values']
    """

    @checked_arguments(own_words_first=True)
    def __init__(
        self,
        collator: Callable[[list[Mapping[str, Any]]], Mapping[str, Any]],
        *,
        change: Callable[[Tensor], Tensor] | None = None,
        style: Callable[[Tensor, Tensor], Tensor] | None = None,
        source_change: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.collator = collator
        self.style = checked_change(style, "style")
        self.change = checked_change(change)
        self.source_change = checked_change(source_change, "source_change") or change

    def __call__(self, rows: Sequence[Any]) -> dict[str, Any]:
        if isinstance(rows[0], SourceRow):
            batch = collated(self.collator, [row.source for row in rows], of=rows)
            return {**batch, OF_SOURCE: torch.ones(len(rows), dtype=torch.bool)}
        if isinstance(rows[0], TargetRow):
            target = unlabelled_batch(self.collator, [row.target for row in rows], labels=["labels"])
            if self.change is not None:
                target = changed_inputs(target, self.change)
            numbers = torch.tensor([row.number for row in rows])
            return {**{f"{TARGET}{name}": value for name, value in target.items()}, "row_numbers": numbers}
        if not isinstance(rows[0], Pair):
            return cast(dict[str, Any], self.collator(cast(list[Any], rows)))
        labels = [name for name in rows[0].source if name in LABEL_COLUMNS]
        target = unlabelled_batch(self.collator, [pair.target for pair in rows], labels=labels)
        source = collated(self.collator, [pair.source for pair in rows], of=rows)
        if self.style is not None:
            source = _restyled(source, target, self.style)
        if self.source_change is not None:
            source = changed_inputs(source, self.source_change)
        if self.change is not None:
            target = changed_inputs(target, self.change)
        told = [pair.number for pair in rows if pair.number is not None]
        numbered = {"row_numbers": torch.tensor(told)} if told else {}
        return {**source, **{f"{TARGET}{name}": value for name, value in target.items()}, **numbered}


def _restyled(
    source: Mapping[str, Any], target: Mapping[str, Any], style: Callable[[Tensor, Tensor], Tensor]
) -> dict[str, Any]:
    """The source's batch with ``style`` applied to its images, those of the target beside them.

    Raises:
        DataError: When there are none.
    """
    images = [name for name, value in source.items() if isinstance(value, Tensor) and value.dim() == 4]
    images = [name for name in images if name in target]
    if not images:
        raise DataError(
            f"style is of images, (B, channels, height, width), and a batch holds {', '.join(source)}. Leave it out."
        )
    return {**source, **{name: style(source[name], target[name]) for name in images}}


def checked_change(change: C, name: str = "change") -> C:
    """A change of inputs as it was given.

    Raises:
        SettingsError: When it cannot be called.
    """
    if change is not None and not callable(change):
        raise SettingsError(
            f"{name}={change!r} cannot be called. Give a function of a tensor, such as strong_view, or None for no "
            "change."
        )
    return change


def changed_inputs(batch: Mapping[str, Any], change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """The batch with ``change`` applied to each floating-point tensor but labels."""
    return {
        name: change(value)
        if isinstance(value, Tensor) and value.is_floating_point() and name not in LABEL_COLUMNS
        else value
        for name, value in batch.items()
    }


def unlabelled_batch(
    collator: Callable[[list[Mapping[str, Any]]], Mapping[str, Any]],
    rows: Sequence[Any],
    *,
    labels: Collection[str],
) -> dict[str, Any]:
    """A batch of target rows, of which no label goes in or comes out.

    Args:
        collator: Rows -> batch.
        rows: Target rows; labels in them are not read.
        labels: Columns of labels that the collator may insist on: each row lends the constant 0, which goes no further.
    """
    lent = dict.fromkeys(labels, 0)
    batch = collated(collator, [{**without_labels(row, None), **lent} for row in rows], of=rows)
    return {name: value for name, value in batch.items() if name not in LABEL_COLUMNS}


def without_labels(row: Mapping[str, Any], columns: Collection[str] | None) -> dict[str, Any]:
    """A target row as far as it may be seen: ``columns``, or all but those of labels.

    Raises:
        DataError: When it is no mapping of inputs by name.
    """
    if not isinstance(row, Mapping):
        raise DataError(f"A row of the target is {row!r:.60}, not its inputs by name. Give rows as Trainer reads them.")
    return {name: row[name] for name in (row if columns is None else columns) if name not in LABEL_COLUMNS}


def class_names(rows: object) -> tuple[str, ...] | None:
    """The names that a dataset of ``datasets`` gives to its classes; None where it gives none."""
    features = getattr(rows, "features", None) or {}
    for column in LABEL_COLUMNS:
        names = getattr(features.get(column), "names", None)
        if names is not None:
            return tuple(names)
    return None


def _checked_columns(columns: Collection[str] | None, row: Mapping[str, Any]) -> tuple[str, ...] | None:
    if columns is None:
        return None
    labels = [name for name in columns if name in LABEL_COLUMNS]
    missing = [name for name in columns if name not in row]
    if labels or missing:
        found = f"{', '.join(labels)} holds labels" if labels else f"{', '.join(missing)} is missing"
        raise DataError(
            f"target_columns must name inputs of the target, but {found}. The target's columns are {', '.join(row)}."
        )
    return tuple(columns)
