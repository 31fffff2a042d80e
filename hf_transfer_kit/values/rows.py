"""What rooms ask of a dataset's rows and of what makes batches of them, as types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class MapRows(Protocol):
    """A map-style dataset: rows that can be counted and asked for, such as a list of them or one of ``datasets``."""

    def __len__(self) -> int:
        """Number of rows."""

    def __getitem__(self, row: int, /) -> Any:
        """One row: input names, and ``labels`` where it has one, -> values."""


class LabelledRows(MapRows, Protocol):
    """Rows whose labels are had without their inputs."""

    @property
    def classes(self) -> Any:
        """Label of each row; None for rows without labels."""

    def label(self, row: int) -> Any:
        """A row's label."""


class Collator(Protocol):
    """Rows -> batch."""

    def __call__(self, rows: Sequence[Mapping[str, Any]], /) -> dict[str, Tensor]:
        """The batch of these rows."""


class KnownRows(LabelledRows, Protocol):
    """Labelled rows that can be told from others."""

    def fingerprint(self) -> str:
        """32 hexadecimal digits that change with any row or its place."""


class KnownCollator(Collator, Protocol):
    """A collator that can be told from others."""

    def fingerprint(self) -> str:
        """32 hexadecimal digits that change with what is made of a row."""
