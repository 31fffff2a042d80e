"""What rooms ask of a dataset's rows and of what makes batches of them, as types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class MapRows(Protocol):
    """A map-style dataset: rows that can be counted and asked for, such as a list of them or one of ``datasets``.

    Example:
        >>> rows: MapRows = [{"labels": 0}, {"labels": 1}]
        >>> len(rows)
        2
    """

    def __len__(self) -> int:
        """Number of rows."""

    def __getitem__(self, row: int, /) -> Any:
        """One row: input names, and ``labels`` where it has one, -> values."""


class LabelledRows(MapRows, Protocol):
    """Rows whose labels are had without their inputs.

    Example:
        >>> rows: LabelledRows = data.train
        >>> bool(rows.label(0) == rows.classes[0])
        True
    """

    @property
    def classes(self) -> Any:
        """Label of each row; None for rows without labels."""

    def label(self, row: int) -> Any:
        """A row's label."""


class Collator(Protocol):
    """Rows -> batch.

    Example:
        >>> collate: Collator = collator  # transformers.default_data_collator
        >>> collate([{"labels": 0}, {"labels": 1}])["labels"]
        tensor([0, 1])
    """

    def __call__(self, rows: Sequence[Mapping[str, Any]], /) -> dict[str, Tensor]:
        """The batch of these rows."""


class KnownRows(LabelledRows, Protocol):
    """Labelled rows that can be told from others.

    Example:
        >>> rows: KnownRows = data.train
        >>> len(rows.fingerprint())
        32
    """

    def fingerprint(self) -> str:
        """32 hexadecimal digits that change with any row or its place."""


class KnownCollator(Collator, Protocol):
    """A collator that can be told from others.

    Example:
        >>> collate: KnownCollator = prepare_data(loaded, processor).collator
        >>> len(collate.fingerprint())
        32
    """

    def fingerprint(self) -> str:
        """32 hexadecimal digits that change with what is made of a row."""
