"""What rooms ask of a dataset's rows and of what makes batches of them: as types, and told where it is not so."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from hf_transfer_kit.errors import DataError, TransferKitError, first_line

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


@runtime_checkable
class DealtStream(Protocol):
    """A stream that gives several readers the batches of one.

    Example:
        >>> isinstance(iter([]), DealtStream)
        False
    """

    def dealt(self, batch_size: int, part: range, /) -> Any:
        """The stream of one reader, an ``IterableDataset``.

        Args:
            batch_size: Rows of a batch over all readers.
            part: Which of its places are this reader's.
        """

    sample: MapRows | None
    """Some of its rows by number, which come in training all the same."""


def check_rows(dataset: Any) -> None:
    """Refuses what is neither a map-style dataset nor a stream of rows.

    Raises:
        DataError: When it is a text, a mapping (a batch, or splits by name), or nothing that has rows.

    Example:
        >>> check_rows(iter([{"labels": 0}]))
    """
    if isinstance(dataset, str | bytes | Mapping) or not hasattr(dataset, "__iter__"):
        check_map_rows(dataset)


def check_map_rows(dataset: Any) -> None:
    """Refuses what is no map-style dataset.

    Raises:
        DataError: When it is a text, a mapping (a batch, or splits by name), a stream, or cannot be counted.

    Example:
        >>> check_map_rows([{"labels": 0}])
    """
    kind = type(dataset).__name__
    if isinstance(dataset, str | bytes):
        raise DataError(f"{dataset!r:.60} is a text, not rows. Load it first: load_data and prepare_data give rows.")
    if isinstance(dataset, Mapping):
        names = ", ".join(map(str, list(dataset)[:8]))
        raise DataError(
            f"A mapping ({kind} with {names or 'no entry'}) is no dataset of rows. Give one of its splits, or of a "
            "batch a list of its rows."
        )
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        what = "a stream without length and indices" if hasattr(dataset, "__iter__") else "no dataset"
        raise DataError(
            f"{kind} is {what}, and rows are asked for by number here. Load it whole, or make a list of its rows."
        )


def collated(collate: Callable[[list], Mapping[str, Any]], rows: list[Any], *, of: object) -> Mapping[str, Any]:
    """What a collator makes of rows.

    Args:
        collate: Anybody's.
        rows: Of one batch.
        of: The dataset that they come from, for the sentence.

    Raises:
        DataError: When the collator does not take them, or gives no batch by name.

    Example:
        >>> sorted(collated(collator, [train[0], train[1]], of=train))
        ['labels', 'pixel_values']
    """
    try:
        batch = collate(rows)
    except TransferKitError:
        raise
    except (LookupError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"The rows of {type(of).__name__} are not what the collator takes ({type(error).__name__}: "
            f"{first_line(error)}). Give rows prepared as Trainer's are, each with its inputs by name, tokenized too, "
            "and the collator that Trainer gets."
        ) from error
    if not isinstance(batch, Mapping):
        raise DataError(
            f"The collator gave {type(batch).__name__}, not a batch by name. Give the collator that Trainer gets."
        )
    return batch


def evenly_spread(size: int, rows: int | None) -> list[int]:
    """Indices of at most ``rows`` of ``size`` rows, the first and the last among them; None takes all.

    Example:
        >>> evenly_spread(9, 3)
        [0, 4, 8]
    """
    count = min(rows or size, size)
    step = (size - 1) / max(count - 1, 1)
    return [*(round(index * step) for index in range(count - 1)), *([size - 1] if count > 1 else [0] * count)]
