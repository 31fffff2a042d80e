"""Which column of a table is predicted from: the one that was trained on, the only one that fits, or the one named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset

from hf_transfer_kit.data.class_names import is_class
from hf_transfer_kit.data.columns import column_modality, find_columns
from hf_transfer_kit.data.decoding import undecoded
from hf_transfer_kit.data.label_kinds import is_list
from hf_transfer_kit.data.media_folders import media_of
from hf_transfer_kit.errors import DataError
from hf_transfer_kit.near_names import did_you_mean

FILE_COLUMN = "files"
"""Kind of a column that names files."""
_MOST = 0.5
_LOOKED_AT = 1_000


def column_values(
    data: Dataset,
    kinds: Sequence[str],
    *,
    words: bool,
    known: Sequence[str],
    input_column: str | None,
    folder: Path | None,
) -> tuple[str, Sequence[Any]]:
    """What the column holds, and its values, read when they are asked for.

    Args:
        data: The table.
        kinds: What the network reads.
        words: Whether lists of words are looked for first.
        known: Columns of the data that the network was measured on.
        input_column: As the user says; two names joined by a comma for pairs of texts.
        folder: Where the table lies, from which names of files in it count.

    Returns:
        ``"image"``, ``"audio"`` or ``"text"``, or ``FILE_COLUMN`` with paths.

    Raises:
        DataError: When there is no such column, or none or several fit.
    """
    names = _named(data, input_column) if input_column else known if set(known) <= set(data.column_names) else ()
    if names and (found := _values(data, tuple(names), kinds, words, folder)) is not None:
        return found
    if names and input_column:
        raise DataError(
            f"The column {input_column!r} holds nothing of what this network reads ({', '.join(kinds)}); the columns "
            f"are {', '.join(data.column_names)}. Name another with input_column (--input_column)."
        )
    for kind in kinds:
        if kind != "text" and (column := _column_of_files(data, kind)) is not None:
            return FILE_COLUMN, _paths(data[column][:], folder)
    # A label, which nobody need know here, is not to be asked for.
    rest = data.remove_columns([name for name, feature in data.features.items() if is_class(feature)])
    modality = kinds[0] if len(kinds) == 1 else None
    listed = words and any(is_list(feature) for feature in rest.features.values())
    columns = find_columns(rest, modality=modality, labelled=False, words=listed)
    return columns.modality, _read(rest, columns.inputs, columns.modality)


def _named(data: Dataset, input_column: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in input_column.split(","))
    if missing := [name for name in names if name not in data.column_names]:
        raise DataError(
            f"There is no column {missing[0]!r}; the columns are {', '.join(data.column_names)}. Name one of these "
            f"with input_column (--input_column).{did_you_mean(missing[0], data.column_names)}"
        )
    return names


def _values(
    data: Dataset, names: tuple[str, ...], kinds: Sequence[str], words: bool, folder: Path | None
) -> tuple[str, Sequence[Any]] | None:
    """What these columns hold, where the network reads it."""
    feature = data.features[names[0]]
    kind = "text" if words and is_list(feature) else column_modality(feature)
    if kind is not None and kind in kinds:
        return kind, _read(data, names, kind)
    if kind == "text":  # of a network that reads no texts, they name files
        return FILE_COLUMN, _paths(data[names[0]][:], folder)
    return None


def _read(data: Dataset, names: Sequence[str], kind: str) -> Sequence[Any]:
    if kind != "text" or len(names) == 1:
        return undecoded(data, names[0], kind)
    return list(zip(*(data[name][:] for name in names), strict=True))


def _column_of_files(data: Dataset, kind: str) -> str | None:
    """The only column of texts most of which end as files of this kind do."""
    found = []
    for name, feature in data.features.items():
        if column_modality(feature) != "text":
            continue
        values = [value for value in data[name][:_LOOKED_AT] if value]
        if values and sum(media_of(Path(value)) == kind for value in values) > _MOST * len(values):
            found.append(name)
    if len(found) > 1:
        raise DataError(
            f"Several columns name files: {', '.join(found)}. Say which with input_column (--input_column)."
        )
    return found[0] if found else None


def _paths(values: Sequence[str | None], folder: Path | None) -> list[Path | None]:
    """Files as seen from the table, or else from where the program runs."""
    beside = [None if not value else (folder or Path()) / value for value in values]
    return [
        path if path is None or path.exists() or not Path(value).exists() else Path(value)
        for path, value in zip(beside, map(str, values), strict=True)
    ]
