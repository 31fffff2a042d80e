"""Tables from files: parquet, csv of any delimiter and encoding, json; several files of a split as one."""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datasets import (
    Dataset,
    Features,
    IterableDataset,
    Value,
    concatenate_datasets,
    load_dataset,
    load_dataset_builder,
)
from datasets.packaged_modules.parquet.parquet import ParquetConfig
from pyarrow.dataset import ParquetFragmentScanOptions

from hf_transfer_kit.data.class_names import is_class
from hf_transfer_kit.data.labels import with_shared_classes
from hf_transfer_kit.errors import DataError, first_line
from hf_transfer_kit.logs import get_logger

logger = get_logger(__name__)

T = TypeVar("T")

KINDS = {
    ".parquet": "parquet", ".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".ndjson": "json",
}  # fmt: skip
"""Ending, in small letters -> kind of table."""
_DELIMITERS = ",;\t|"
_SAMPLE = 1 << 16
_ROWS_AT_ONCE = 100
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_NOTHING = pa.array(["NA", "N/A", "NaN", "nan", "NULL", "null", "None", "none", "-", "?", "n/a"])
_WHOLE = r"^\s*[+-]?(0|[1-9]\d*)\s*$"
_NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"
_COMMA = r"^\s*[+-]?\d+,\d+\s*$"


def read_tables(files: Sequence[Path]) -> Dataset:
    """The rows of files of one kind, one after the other.

    Raises:
        DataError: When a file cannot be read, or two do not fit together.
    """
    readers = {"parquet": _of_parquet, "csv": lambda own: _joined([_of_csv(file) for file in own], own)}
    return _read(files, readers.get(KINDS[files[0].suffix.lower()], _of_json))


def stream_tables(files: Sequence[Path]) -> IterableDataset:
    """The same rows as a stream. Columns of a csv file are texts: what is a number shows in all of its values alone.

    Raises:
        DataError: When a file cannot be read, or two have other columns.
    """
    readers = {"parquet": _stream_of_parquet, "csv": _stream_of_csv}
    return _read(files, readers.get(KINDS[files[0].suffix.lower()], _stream_of_json))


def _read(files: Sequence[Path], reader: Callable[[Sequence[Path]], T]) -> T:
    """What a reader makes of files; what it says is told with their name."""
    kind = KINDS[files[0].suffix.lower()]
    try:
        return reader(files)
    except DataError:
        raise
    except Exception as error:  # each reader has its own
        reason = first_line(error.__cause__ or error)
        raise DataError(f"{files[0].name} cannot be read as {kind}: {reason}") from error


def _of_parquet(files: Sequence[Path]) -> Dataset:
    """Parquet files; those with other lists of classes are read apart, for a list belongs to its file."""
    groups: dict[bytes | None, list[str]] = {}
    for file in files:
        schema = pq.read_schema(file)
        groups.setdefault((schema.metadata or {}).get(b"huggingface"), []).append(str(file))
    parts = [_load("parquet", own) for own in groups.values()]
    return _joined(parts, [Path(own[0]) for own in groups.values()])


def _stream_of_parquet(files: Sequence[Path]) -> IterableDataset:
    """Parquet files of one schema: a stream has one list of classes, and would give another file's rows its names."""
    schemas = {str(file): pq.read_schema(file) for file in files}
    first = schemas[str(files[0])]
    other = next((file for file, schema in schemas.items() if not schema.equals(first, check_metadata=True)), None)
    if other is not None:
        raise DataError(
            f"{files[0].name} and {Path(other).name} differ in columns, types or lists of classes, which no stream can "
            "bring together. Write them alike, or read them without streaming."
        )
    return _stream("parquet", list(schemas))


def _stream_of_csv(files: Sequence[Path]) -> IterableDataset:
    options = [_csv_options(file) for file in files]
    if any(option != options[0] for option in options):
        raise DataError(
            f"{', '.join(file.name for file in files[:6])} differ in columns, encoding or delimiter, which no stream "
            "can bring together. Write them alike, or read them without streaming."
        )
    return _stream("csv", [str(file) for file in files], **options[0])


def _stream_of_json(files: Sequence[Path]) -> IterableDataset:
    """Rows in json files, one a line: what lies within one object is found only by reading all of it."""
    return _stream("json", [str(file) for file in files])


def _csv_options(file: Path) -> dict[str, Any]:
    """How a csv file is read as texts."""
    options: dict[str, Any] = {"sep": delimiter_of(file), "encoding": encoding_of(file)}
    names = list(pd.read_csv(file, nrows=0, **options).columns)
    texts = Features({str(name): Value("string") for name in names})
    return {"features": texts, "keep_default_na": False, "na_values": [""], **options}


def _of_csv(file: Path) -> Dataset:
    """A csv file, first as texts: what is a number is seen in all of its values."""
    options = _csv_options(file)
    encoding, delimiter = options["encoding"], options["sep"]
    data = _load("csv", [str(file)], **options)
    usual = "\t" if file.suffix.lower() == ".tsv" else ","
    if encoding not in (None, "utf-8-sig") or delimiter != usual:
        logger.warning(f"{file.name} is read as {encoding or 'utf-8'} with {delimiter!r} between columns.")
    return with_numbers_read(data)


def _of_json(files: Sequence[Path]) -> Dataset:
    field = _field_of(files[0])
    return _load("json", [str(file) for file in files], **({} if field is None else {"field": field}))


def _load(builder: str, files: list[str], **options: Any) -> Dataset:
    return load_dataset(builder, data_files=_as_train(files), **options)["train"]


def _stream(builder: str, files: list[str], **options: Any) -> IterableDataset:
    return streamed_splits(builder, data_files=_as_train(files), **options)["train"]


def _as_train(files: list[str]) -> dict[str, list[str]]:
    # A pattern would be made of brackets and stars in a name.
    return {"train": [_literal(file) for file in files]}


def streamed_splits(path: str, config_name: str | None = None, **options: Any) -> Mapping[str, IterableDataset]:
    """The splits that ``load_dataset`` gives with ``streaming=True``, of which no parquet file is kept as it is read.

    Args:
        path: A Hub name, a folder, or a kind of file.
        config_name: Its configuration.
        **options: Further ones of ``load_dataset``.
    """
    builder = load_dataset_builder(path, config_name, **options)
    if isinstance(builder.config, ParquetConfig):
        # What Arrow reads ahead of a file by default it holds until the file ends, and rows come by whole groups.
        builder.config.fragment_scan_options = ParquetFragmentScanOptions(pre_buffer=False)
        builder.config.batch_size = builder.config.batch_size or _ROWS_AT_ONCE
    return builder.as_streaming_dataset()


def _literal(path: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in path)


def _field_of(file: Path) -> str | None:
    """Where the rows are in a json file that is one object around them."""
    if file.suffix.lower() != ".json":
        return None
    with file.open(encoding="utf-8-sig") as opened:
        if opened.read(_SAMPLE).lstrip()[:1] != "{":
            return None
        opened.seek(0)
        try:
            value = json.load(opened)
        except json.JSONDecodeError:  # one object a line
            return None
    rows = [key for key, inner in value.items() if isinstance(inner, list) and inner and isinstance(inner[0], dict)]
    return rows[0] if len(rows) == 1 else None


def encoding_of(file: Path) -> str | None:
    """None for UTF-8; else what its first bytes say, or cp1252 where it is no UTF-8."""
    with file.open("rb") as opened:
        start = opened.read(4)
        for mark, encoding in _MARKS.items():
            if start.startswith(mark):
                return encoding
        decoder = codecs.getincrementaldecoder("utf-8")()
        opened.seek(0)
        try:
            while block := opened.read(1 << 22):
                decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return "cp1252"
    return None


def delimiter_of(file: Path) -> str:
    """What stands between the columns: of the usual ones, that by which the first lines have most columns, equally."""
    with file.open(encoding=encoding_of(file) or "utf-8", newline="") as opened:
        sample = opened.read(_SAMPLE)
    usual = "\t" if file.suffix.lower() == ".tsv" else ","
    best, most = usual, 1
    for delimiter in sorted(_DELIMITERS, key=lambda letter: letter != usual):
        rows = [row for row in csv.reader(sample.splitlines(keepends=True), delimiter=delimiter) if row]
        rows = rows[: max(1, len(rows) - 1)][:50]  # the last may be cut
        widths = {len(row) for row in rows}
        if len(widths) == 1 and (width := widths.pop()) > most:
            best, most = delimiter, width
    return best


def with_numbers_read(data: Dataset) -> Dataset:
    """Columns of texts that are all numbers as numbers: not ``01``, which is a name; ``1,5`` is one and a half.

    A word for nothing (``NA``, ``None``) is missing among numbers, and a text among texts.
    """
    order = data.column_names
    for name in order:
        numbers = _as_numbers(data.data.column(name))
        if numbers is not None:
            data = data.remove_columns(name).add_column(name, numbers)
    return data.select_columns(order)


def _as_numbers(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    trimmed = pc.utf8_trim_whitespace(column)
    known = pc.if_else(pc.is_in(trimmed, value_set=_NOTHING), None, trimmed)
    if known.null_count == len(known):
        return None
    for pattern, kind in ((_WHOLE, pa.int64()), (_NUMBER, pa.float64()), (_COMMA, pa.float64())):
        if pc.all(pc.match_substring_regex(known, pattern)).as_py():
            if kind == pa.float64() and _has_leading_zeros(known):
                return None
            values = pc.replace_substring(known, ",", ".") if pattern == _COMMA else known
            try:
                return pc.cast(values, kind)
            except pa.ArrowInvalid:  # too large for a number: a name
                return None
    return None


def _has_leading_zeros(values: pa.ChunkedArray) -> bool:
    return pc.any(pc.match_substring_regex(values, r"^[+-]?0\d")).as_py()


def _joined(parts: Sequence[Dataset], files: Sequence[Path]) -> Dataset:
    """Parts one after the other, with classes matched by name."""
    if len(parts) == 1:
        return parts[0]
    for name in parts[0].column_names:
        features = [part.features.get(name) for part in parts]
        if all(is_class(feature) for feature in features):
            # Whole paths: files in two folders may have one name.
            shared, _ = with_shared_classes(dict(zip(map(str, files), parts, strict=True)), name)
            parts = [part.select_columns(parts[0].column_names) for part in shared.values()]
        elif all(isinstance(feature, Value) for feature in features) and len({f.dtype for f in features}) > 1:
            numeric = all("string" not in feature.dtype for feature in features)
            parts = [part.cast_column(name, Value("float64" if numeric else "string")) for part in parts]
    try:
        return concatenate_datasets(list(parts))
    except (ValueError, pa.ArrowInvalid) as error:
        columns = "; ".join(
            f"{file.name}: {', '.join(part.column_names)}" for file, part in zip(files, parts, strict=True)
        )
        raise DataError(f"The files of one split have other columns ({columns[:400]}). Give them the same.") from error
