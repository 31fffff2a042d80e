"""Several labelled datasets read side by side: a step holds as many rows of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hf_transfer_kit.adaptation.domain_pairs import changed_inputs, checked_change, class_names, shuffled_places
from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.data.labels import check_same_classes
from hf_transfer_kit.errors import DataError
from hf_transfer_kit.options import check_seed
from hf_transfer_kit.tuning.all_rows import check_together
from hf_transfer_kit.tuning.networks import GIVEN
from hf_transfer_kit.values import MapRows
from hf_transfer_kit.values.rows import check_rows, collated

DOMAINS = "domains"
"""Name of what says which source each row of a batch is of."""
_ROUNDING = 1e-6


class RowOfEach(NamedTuple):
    """One row of every source. No dict, so that Trainer's removal of unused columns lets it pass whole."""

    rows: tuple[Mapping[str, Any], ...]


class SeveralSources(TorchDataset):
    """A row of every source for each index; as long as the longest source.

    Index ``i`` holds row ``i`` of the longest source, whose order is the sampler's. The others repeat, in a new order
    each round, so that within a round every row comes once. What an index means depends on ``seed`` and the epoch
    alone. ``ReshuffleSources`` tells the epoch; without it every epoch puts the rows together alike.

    Args:
        sources: Name -> map-style dataset of rows with labels.
        seed: Of the order of the shorter sources.

    Raises:
        DataError: When there is no source, one is empty or has no length, or two name their classes and these differ.

    Example:
        >>> sources = SeveralSources({"photo": train, "art": target})
        >>> sources.names, len(sources)
        (('photo', 'art'), 12)
    """

    @checked_arguments(own_words_first=True)
    def __init__(self, sources: Mapping[str, MapRows], *, seed: int = 0) -> None:
        if not sources:
            raise DataError("There is no source. Give one or more, by name: {'photo': rows, 'cartoon': rows}.")
        for name, rows in sources.items():
            if isinstance(rows, str | bytes):
                check_rows(rows)
            if not hasattr(rows, "__len__") or len(rows) == 0:
                raise DataError(
                    f"The source {name!r} has no rows that can be counted, and every step needs one. Check its split "
                    "or its filter; streams cannot be read here."
                )
        check_seed("SeveralSources", seed)
        first = class_names(next(iter(sources.values())))
        for rows in sources.values():
            check_same_classes(first, class_names(rows))
        self.sources = dict(sources)
        self.seed = seed
        # Shared memory: workers that stay alive between epochs see what the main process writes.
        self._epoch = torch.zeros((), dtype=torch.long).share_memory_()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the sources, in the order of their numbers in ``domains``."""
        return tuple(self.sources)

    def __len__(self) -> int:
        return max(map(len, self.sources.values()))

    def __getitem__(self, index: int) -> RowOfEach:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[RowOfEach]:
        """The rows of a batch at once, as torch's loader asks for them."""
        places = self.rows_of(indices)
        return [
            RowOfEach(tuple(rows[place] for rows, place in zip(self.sources.values(), each, strict=True)))
            for each in zip(*places, strict=True)
        ]

    def reshuffle(self, epoch: int) -> None:
        """Puts the rows together anew, as epoch ``epoch`` (from 0) always does."""
        self._epoch.fill_(epoch)

    def rows_of(self, indices: Sequence[int]) -> list[list[int]]:
        """For each source its rows at ``indices`` in this epoch.

        Raises:
            IndexError: When there is no such index.
        """
        longest, epoch = len(self), int(self._epoch)
        if any(not 0 <= index < longest for index in indices):
            raise IndexError(f"There are {longest} rows of each source, so not all of these: {list(indices)}.")
        return [
            list(indices)
            if len(rows) == longest
            else shuffled_places(indices, len(rows), seed=(self.seed, number), epoch=epoch)
            for number, rows in enumerate(self.sources.values())
        ]


class ReshuffleSources(TrainerCallback):
    """Tells ``SeveralSources`` which epoch it is, a resumed run's too.

    Example:
        >>> sources = SeveralSources({"photo": train, "art": target})
        >>> several = SeveralSourcesModel.from_classifier(model, sources=sources.names)
        >>> callbacks = [ReshuffleSources()]
        >>> trainer = Trainer(
        ...     several, args, train_dataset=sources, data_collator=SourcesCollator(collator), callbacks=callbacks
        ... )
        >>> _ = trainer.train()
    """

    def on_epoch_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        train_dataloader: DataLoader = GIVEN,
        **kwargs: Any,
    ) -> None:
        check_together(args)
        rows = getattr(train_dataloader, "dataset", None)
        if isinstance(rows, SeveralSources):
            # A resumed run begins with a part of an epoch done.
            rows.reshuffle(int((state.epoch or 0) + _ROUNDING))


class SourcesCollator:
    """Rows of all sources into one batch, with ``domains``, the number of each row's source, int64 (B,).

    Other rows (those of an evaluation) go through ``collator`` as they are.

    Args:
        collator: Rows -> batch, as Trainer would get it.
        change: Random change of training inputs, (B, ...) -> (B, ...), such as ``strong_view``; None for none.

    Raises:
        SettingsError: When ``change`` cannot be called.

    Example:
        >>> sources = SeveralSources({"photo": train, "art": target})
        >>> SourcesCollator(collator)([sources[0], sources[1]])["domains"]
        tensor([0, 1, 0, 1])
    """

    @checked_arguments(own_words_first=True)
    def __init__(
        self,
        collator: Callable[[list[Mapping[str, Any]]], Mapping[str, Any]],
        *,
        change: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.collator = collator
        self.change = checked_change(change)

    def __call__(self, rows: Sequence[Any]) -> dict[str, Any]:
        if not isinstance(rows[0], RowOfEach):
            return cast(dict[str, Any], self.collator(cast(list[Any], rows)))
        # Row after row of each source: whoever takes a part of the batch gets all sources.
        batch = collated(self.collator, [row for each in rows for row in each.rows], of=rows)
        if self.change is not None:
            batch = changed_inputs(batch, self.change)
        return {**batch, DOMAINS: torch.arange(len(rows[0].rows)).repeat(len(rows))}
