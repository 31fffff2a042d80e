"""Several labelled datasets with the same classes: loaded, and put together so that each counts alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch.utils.data import Dataset as TorchDataset

from hf_transfer_kit.data.class_balance import balanced_places
from hf_transfer_kit.data.contents import contents_hash
from hf_transfer_kit.data.labels import with_class_order
from hf_transfer_kit.data.loading import LoadedData
from hf_transfer_kit.data.preparing import SPLITS, PreparedData
from hf_transfer_kit.errors import DataError
from hf_transfer_kit.values import KnownRows


@dataclass(frozen=True)
class LoadedSources:
    """Several datasets whose classes are the same, in the order of the first one's.

    Args:
        parts: Name, none twice -> its splits; one or more.

    Raises:
        DataError: When there is none, or another holds other classes or another kind of inputs than the first.

    Example:
        >>> both = LoadedSources({"photo": loaded, "again": loaded})
        >>> both.name, both.label_names[:3]
        ('photo + again', ('0', '1', '2'))
    """

    parts: Mapping[str, LoadedData]

    @property
    def task_type(self) -> str:
        """Several sources share classes."""
        return "classification"

    def __post_init__(self) -> None:
        if not self.parts:
            raise DataError("There is no source. Give one or more.")
        (name, first), *others = self.parts.items()
        object.__setattr__(self, "parts", {name: first, **{name: self.like_these(name, part) for name, part in others}})

    def like_these(self, name: str, data: LoadedData) -> LoadedData:
        """Another dataset with its classes in the order of these.

        Args:
            name: For people.
            data: Labelled.

        Raises:
            DataError: When it holds other classes or another kind of inputs.
        """
        first_name, first = next(iter(self.parts.items()))
        if data.modality != first.modality:
            raise DataError(
                f"All domains must hold inputs of one kind, but {first_name} holds {first.modality} and {name} "
                f"{data.modality}. Name the column with --input_column."
            )
        _check_classes(first_name, first.label_names, name, data.label_names)
        splits = with_class_order({s: getattr(data, s) for s in SPLITS}, data.known_label_column, first.label_names)
        return replace(data, **splits, label_names=first.label_names)

    @property
    def first(self) -> LoadedData:
        """The one whose classes and preparation the others follow."""
        return next(iter(self.parts.values()))

    @property
    def name(self) -> str:
        """All names, for people."""
        return " + ".join(self.parts)

    @property
    def modality(self) -> str:
        """What the inputs are."""
        return self.first.modality

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.first.label_names

    @property
    def input_columns(self) -> tuple[str, ...]:
        """Columns of the inputs of the first one."""
        return self.first.input_columns

    @property
    def skipped_rows(self) -> int:
        """Unreadable rows that were left out."""
        return sum(part.skipped_rows for part in self.parts.values())

    def sizes(self) -> dict[str, int]:
        """Rows of each split of each source."""
        return self._of_each(LoadedData.sizes)

    def fingerprints(self) -> dict[str, str]:
        """The fingerprint that ``datasets`` gives each split of each source."""
        return self._of_each(LoadedData.fingerprints)

    def _of_each(self, told: Callable[[LoadedData], dict[str, Any]]) -> dict[str, Any]:
        if len(self.parts) == 1:
            return told(self.first)
        return {f"{name}, {split}": value for name, part in self.parts.items() for split, value in told(part).items()}


class UnionRows(TorchDataset):
    """Rows of several datasets, each as often as the largest has rows: whole rounds, and of the last a drawn part.

    Args:
        parts: Map-style datasets whose rows have labels.
        seed: Of what is drawn.

    Example:
        >>> rows = UnionRows([data.train, other_data.train])
        >>> len(data.train), len(other_data.train), len(rows)
        (24, 24, 48)
    """

    def __init__(self, parts: Sequence[KnownRows], *, seed: int = 0) -> None:
        self.parts = list(parts)
        self.domains = np.repeat(np.arange(len(self.parts)), [len(part) for part in self.parts])
        self.places = balanced_places(self.domains, seed=seed)
        self._starts = np.concatenate([[0], np.cumsum([len(part) for part in self.parts])])

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, row: int) -> dict[str, Any]:
        part, place = self._found(row)
        return part[place]

    def label(self, row: int) -> Any:
        """A row's label, without its input."""
        part, place = self._found(row)
        return part.label(place)

    @property
    def classes(self) -> np.ndarray:
        """Class of each row, of shape (rows,)."""
        return np.array([self.label(row) for row in range(len(self))])

    def fingerprint(self) -> str:
        """32 hexadecimal digits that change with any row or its place."""
        return contents_hash(["union", [part.fingerprint() for part in self.parts], self.places])

    def _found(self, row: int) -> tuple[KnownRows, int]:
        place = int(self.places[row])
        domain = int(self.domains[place])
        return self.parts[domain], place - int(self._starts[domain])


def united(parts: Sequence[PreparedData], *, seed: int = 0) -> PreparedData:
    """One source made of several, prepared alike: in every split each has as many rows; a single one as it is.

    Example:
        >>> union = united([data, other_data])
        >>> len(data.train), len(other_data.train), len(union.train)
        (24, 24, 48)
    """
    if len(parts) == 1:
        return parts[0]
    splits: dict[str, Any] = {split: UnionRows([getattr(part, split) for part in parts], seed=seed) for split in SPLITS}
    return replace(parts[0], **splits)


def distinct_names(names: Sequence[str]) -> list[str]:
    """The names, those that come again with a number behind: books, books (2).

    Example:
        >>> distinct_names(["books", "toys", "books"])
        ['books', 'toys', 'books (2)']
    """
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found


def _check_classes(first_name: str, first: Sequence[str], name: str, own: Sequence[str]) -> None:
    missing = [label for label in first if label not in own]
    more = [label for label in own if label not in first]
    if missing or more:
        said = [
            f"{verb} {', '.join(map(repr, labels))}"
            for verb, labels in (("lacks", missing), ("has besides", more))
            if labels
        ]
        raise DataError(
            f"All domains must have the same classes, but {name} {' and '.join(said)} (against {first_name}). Filter "
            "or rename the classes so that they agree, or leave that domain out."
        )
