"""Folders of pictures or sounds: one folder a class, a table of what each file shows, or neither."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from datasets import ClassLabel, Dataset, Features, Image, Value

from hf_transfer_kit.data.decoding import undecoded
from hf_transfer_kit.data.split_words import files_by_split, is_split_word
from hf_transfer_kit.data.tables import read_tables
from hf_transfer_kit.errors import DataError
from hf_transfer_kit.logs import get_logger

logger = get_logger(__name__)

MEDIA = {
    "image": {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"},
    "audio": {".wav", ".flac", ".mp3", ".ogg", ".opus", ".aiff", ".aif", ".au"},
}
"""Kind of file -> endings, in small letters."""
# Not the feature Audio: without torchcodec it takes no paths.
_FEATURES = {"image": Image(), "audio": {"bytes": Value("binary"), "path": Value("string")}}


def media_of(file: Path) -> str | None:
    """``"image"``, ``"audio"`` or None."""
    return next((kind for kind, endings in MEDIA.items() if file.suffix.lower() in endings), None)


def read_listed(tables: Sequence[Path], media: Sequence[Path], root: Path, kind: str) -> dict[str, Dataset]:
    """Splits of tables that name the files, a column of files for the column of names; none where no table does.

    Args:
        tables: Tables in the folder.
        media: Its pictures or sounds.
        root: The folder.
        kind: Which of both they are.

    Raises:
        DataError: When a table names files that are not there.
    """
    by_name: dict[str, list[Path]] = {}
    for file in media:
        for name in {str(file.relative_to(root)), file.name, file.stem}:
            by_name.setdefault(name, []).append(file)
    found: dict[Path, Dataset] = {}
    for table in tables:
        data = read_tables([table])
        column = _column_of_files(data, table, by_name)
        if column is not None:
            found[table] = _with_files(data, column, table, by_name, kind)
    left = [table.name for table in tables if table not in found]
    if left:
        logger.warning(f"{', '.join(left)} of {root.name} is left out: it names none of the files there.")
    if not found:
        return {}
    splits = files_by_split(found, root)
    if list(splits) == ["train"] and len(found) == 1:
        return _by_folder_of_files(next(iter(found.values())), root, kind)
    return {split: _one_table([found[t] for t in own], own) for split, own in splits.items()}


def read_folders(media: Sequence[Path], root: Path, kind: str) -> dict[str, Dataset]:
    """Splits by folders of that name, classes by the folder that each file lies in; no label where that is one."""
    splits = files_by_split(media, root, by_folder=True)
    class_of = {file: file.parent.name for file in media}
    only = {name for name in class_of.values() if not is_split_word(name)}
    names = sorted(only)
    found = {}
    for split, files in splits.items():
        columns: dict[str, list] = {kind: _stored(files)}
        features = {kind: _FEATURES[kind]}
        if len(names) > 1:
            columns["label"] = [names.index(class_of[f]) if class_of[f] in only else None for f in files]
            features["label"] = ClassLabel(names=names)
        found[split] = Dataset.from_dict(columns, features=Features(features))
    return found


def _by_folder_of_files(data: Dataset, root: Path, kind: str) -> dict[str, Dataset]:
    """Rows of one table by the split that the folders of their files tell; all are train where none does."""
    paths = [Path(value["path"]) for value in undecoded(data, data.column_names[-1], kind)]
    rows = {path: row for row, path in enumerate(paths)}
    found = files_by_split(rows, root, by_folder=True)
    return {split: data.select(sorted(rows[path] for path in own)) for split, own in found.items()}


def _one_table(parts: Sequence[Dataset], tables: Sequence[Path]) -> Dataset:
    if len(parts) > 1:
        raise DataError(
            f"{', '.join(table.name for table in tables)} name files of one split. Give one table, or tables called "
            "after train, validation and test."
        )
    return parts[0]


def _column_of_files(data: Dataset, table: Path, by_name: dict[str, list[Path]]) -> str | None:
    """The column of which most values are names of files."""
    best, most = None, (0.5, 0)
    for name, feature in data.features.items():
        if not isinstance(feature, Value) or not (feature.dtype.startswith("int") or "string" in feature.dtype):
            continue
        values = [value for value in data[name][:] if value is not None]
        share = sum(_file(value, table, by_name) is not None for value in values) / max(len(values), 1)
        if (share, len(set(values))) > most:  # a class called 1 is no name of a file 1.png
            best, most = name, (share, len(set(values)))
    return best


def _file(value: object, table: Path, by_name: dict[str, list[Path]]) -> Path | None:
    """The file that a value names: from the table's folder, from the root, or by a name that only one has."""
    text = str(value).strip().replace("\\", "/")
    if not text:
        return None
    beside = table.parent / text
    if media_of(beside) is not None and beside.is_file():
        return beside
    for name in (text, Path(text).name):
        if len(known := by_name.get(name, [])) == 1:
            return known[0]
    return None


def _with_files(data: Dataset, column: str, table: Path, by_name: dict[str, list[Path]], kind: str) -> Dataset:
    found = [_file(value, table, by_name) if value is not None else None for value in data[column][:]]
    missing = [row for row, file in enumerate(found) if file is None]
    if missing:
        raise DataError(
            f"{table.name} names {len(missing)} of {len(found)} files in {column!r} that are not there, the first in "
            f"row {missing[0]}: {data[column][missing[0]]!r}. Put them there, or remove the rows."
        )
    files = [file for file in found if file is not None]
    rest = data.remove_columns(column)
    name = kind if kind not in rest.column_names else column
    return rest.add_column(name, _stored(files), feature=_FEATURES[kind])


def _stored(files: Sequence[Path]) -> list[dict[str, str | None]]:
    return [{"bytes": None, "path": str(file)} for file in files]
