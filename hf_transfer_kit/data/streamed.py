"""Data read as a stream: one row after the other, none of them kept, for what no disk holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import datasets
import fsspec
from torch.utils.data import IterableDataset

from hf_transfer_kit.data.class_names import as_name, check_spellings, is_class, places, shared_names
from hf_transfer_kit.data.columns import check_columns, find_columns
from hf_transfer_kit.data.decoding import looked_at, require_soundfile, rgb_image, tell_looks, unreadable
from hf_transfer_kit.data.label_kinds import CLASSIFICATION, words_of
from hf_transfer_kit.data.labels import NO_LABEL
from hf_transfer_kit.data.raw_inputs import InputSizes, RawInputs, check_sizes, check_tokenizer
from hf_transfer_kit.data.stored_splits import display_name, stored_streams
from hf_transfer_kit.errors import DataError, SettingsError, TransferKitError, first_line
from hf_transfer_kit.values.windows import with_window

_SHOWN = 10


@dataclass(frozen=True)
class StreamedData:
    """The splits of a dataset as streams.

    Args:
        name: For people: the Hub name, the embedded name, or the last part of a path.
        modality: ``"image"``, ``"text"`` or ``"audio"``.
        splits: Split -> its stream, with the input and the label columns alone, nothing decoded.
        input_columns: One column, or two for pairs of texts.
        label_column: The column of the classes.
        label_names: Their names.
        places: Split -> what its label column holds, as it is or (a number, a text) as text -> class index.
    """

    name: str
    modality: str
    splits: Mapping[str, datasets.IterableDataset]
    input_columns: tuple[str, ...]
    label_column: str
    label_names: tuple[str, ...]
    places: Mapping[str, Mapping[Any, int]]

    @property
    def task_type(self) -> str:
        """As ``LoadedData`` has it."""
        return CLASSIFICATION

    def rows(self, split: str) -> Iterator[Mapping[str, Any]]:
        """One pass through a split, nothing decoded: all its rows, also in one of several workers of a loader.

        Raises:
            DataError: While iterating, where it breaks off, or when it has no rows.
        """
        # datasets would give a worker of a loader a part of the rows, but not of batches, which it does not share out.
        batches, read = iter(self.splits[split].iter(batch_size=1)), 0
        while True:
            try:
                batch = next(batches, None)
            except TransferKitError:
                raise
            except Exception as error:  # the readers of files and the Hub have each their own
                raise DataError(
                    f"{self.name} cannot be read beyond {read} rows of {split}: {first_line(error.__cause__ or error)}"
                ) from error
            if batch is None:
                break
            read += 1
            yield {column: values[0] for column, values in batch.items()}
        if not read:
            raise DataError(f"The split {split} of {self.name} has no rows.")

    def class_of(self, value: Any, split: str, row: int) -> int:
        """Class index of what the label column holds.

        Args:
            value: As the stream gives it.
            split: The row's split.
            row: Its place there, for the sentence.

        Raises:
            DataError: When the row has no label, or one that is none of the classes.
        """
        named = is_class(self.splits[split].features[self.label_column])
        key = value if named or value is None else as_name(value)
        if key in (None, "") or (named and key == NO_LABEL):
            raise DataError(
                f"Row {row} of {split} has no label in {self.label_column!r}. Remove such rows, or label them."
            )
        if key not in self.places[split]:
            names = ", ".join(map(repr, self.label_names[:_SHOWN]))
            more = f", ... ({len(self.label_names)})" if len(self.label_names) > _SHOWN else ""
            raise DataError(
                f"Row {row} of {split} has the label {value!r} in {self.label_column!r}, which is none of the classes "
                f"{names}{more}. Correct it, or name all classes."
            )
        return self.places[split][key]


def load_stream(
    name_or_path: str | Path,
    *,
    config_name: str | None = None,
    revision: str | None = None,
    input_column: str | None = None,
    label_column: str | None = None,
    class_names: Sequence[str] = (),
) -> StreamedData:
    """A dataset with classes as streams: what ``load_data`` reads, of which no row is read yet.

    Splits are those that it has. What takes all rows to know must be known beforehand: the classes, where the label
    column does not name them.

    Args:
        name_or_path: As in ``load_data``; json files have one row a line.
        config_name: Configuration of a Hub dataset.
        revision: Revision of a Hub dataset.
        input_column: Column of the inputs; found by type otherwise.
        label_column: Column of the classes; found by name or type otherwise.
        class_names: Names of the classes in their order, where the label column holds plain texts or numbers; these
            are compared as text.

    Raises:
        DataError: When the data cannot be found or read, or columns or classes do not fit.
        SettingsError: When names of classes are missing, come twice, or are given where the data has its own.
    """
    name = str(name_or_path)
    found = stored_streams(name, config_name=config_name, revision=revision)
    columns = find_columns(cast(Any, found["train"]), input_column=input_column, label_column=label_column)
    check_columns(cast(Any, found), columns)
    if columns.modality == "audio":
        require_soundfile()
    label = cast(str, columns.label)  # found, or refused by find_columns
    names, class_places = _classes({split: data.features[label] for split, data in found.items()}, label, class_names)
    # A row that datasets cannot decode would end the stream; that of a file on the Hub is its address then.
    splits = {split: data.decode(False).select_columns([*columns.inputs, label]) for split, data in found.items()}
    return StreamedData(display_name(name), columns.modality, splits, columns.inputs, label, names, class_places)


def _classes(
    features: Mapping[str, Any], label: str, class_names: Sequence[str]
) -> tuple[tuple[str, ...], dict[str, Mapping[Any, int]]]:
    """Names of the classes, and split -> what its label column holds -> class index."""
    own = {split: feature.names for split, feature in features.items() if is_class(feature)}
    plain = [split for split in features if split not in own]
    if own and (class_names or plain):
        raise SettingsError(
            f"The label column {label!r} has classes with names in {', '.join(own)}"
            + (f" and plain values in {', '.join(plain)}: give all splits the same." if plain else ".")
            + (" Leave the names of classes out." if class_names else "")
        )
    if own:
        names = shared_names(own, label)
        return tuple(names), {split: places(own[split], names) for split in features}
    if not class_names:
        raise SettingsError(
            f"The label column {label!r} holds {words_of(next(iter(features.values())))} and does not name its "
            "classes, which a stream would show at its end alone. Name them all, in their order, with --class_names."
        )
    names = [str(name).strip() for name in class_names]
    if len(set(names)) < len(names) or len(names) < 2:
        raise SettingsError(f"--class_names {' '.join(names)}: give two or more names, each of them once.")
    check_spellings(names, label)
    return tuple(names), {split: {name: index for index, name in enumerate(names)} for split in features}


def stream_inputs(data: StreamedData, processor: Any, sizes: InputSizes) -> RawInputs:
    """What makes the inputs of a stream's rows, the same that ``prepare_data`` makes of loaded ones.

    Raises:
        DataError: When the processor does not fit the data.
        SettingsError: When a size is out of range or of another kind of inputs, or ``max_seconds`` is missing.
    """
    check_sizes(sizes, data.name, data.modality, processor)
    if data.modality == "text":
        check_tokenizer(processor, sizes, data.name, texts=len(data.input_columns))
    if data.modality == "audio" and sizes.max_seconds is None:
        raise SettingsError(
            f"max_seconds is missing: {data.name} holds sounds, and how long they are a stream shows at its end alone. "
            "Give the longest that is kept, in seconds."
        )
    if data.modality == "audio":
        processor = with_window(processor, cast(float, sizes.max_seconds))
    return RawInputs(data.modality, processor, sizes)


class RowMaker:
    """Makes rows as ``prepare_data`` makes them of what a split's stream gives.

    Args:
        data: The streams.
        split: Which of them.
        inputs: What makes inputs of raw rows.
        skip: Leave rows out that cannot be read, and count them.
    """

    def __init__(self, data: StreamedData, split: str, inputs: RawInputs, *, skip: bool) -> None:
        self.data, self.split, self.inputs, self.skip = data, split, inputs, skip
        self.seen = self.skipped = self.dull = 0
        """Rows that were looked at, were left out, are the same everywhere."""

    def __call__(self, given: Mapping[str, Any], row: int) -> dict[str, Any] | None:
        """The row, or None where it is left out.

        Args:
            given: What the stream gave.
            row: Its place in the split.

        Raises:
            DataError: When it cannot be read and is not to be left out, or its label is none of the classes.
        """
        self.seen += 1
        label = self.data.class_of(given[self.data.label_column], self.split, row)
        values = [self._decoded(fetched(given[column], self.split, row)) for column in self.data.input_columns]
        looks = [looked_at(value, self.data.modality) for value in values]
        problems = [problem for problem, _ in looks]
        for column, problem in zip(self.data.input_columns, problems, strict=True):
            if problem and not self.skip:
                raise unreadable(row, self.split, column, problem)
        self.dull += any(constant for _, constant in looks)
        if any(problems):
            self.skipped += 1
            return None
        return {**self.inputs.rows([values[0] if len(values) == 1 else tuple(values)])[0], "labels": label}

    def tell(self) -> None:
        """Says how many rows were left out or are the same everywhere.

        Raises:
            DataError: When none could be read.
        """
        column = self.data.input_columns[0]
        tell_looks(self.split, column, self.data.modality, rows=self.seen, dull=self.dull, bad=self.skipped)

    def _decoded(self, value: Any) -> Any:
        """A picture that can be decoded as one, so that this is done once; all else as it is."""
        if self.data.modality == "image":
            with suppress(Exception):
                return rgb_image(value)
        return value


class StreamedRows(IterableDataset):
    """One pass after the other through a split, of rows as ``prepare_data`` makes them; one is held at a time.

    Args:
        data: The streams.
        split: Which of them.
        inputs: What makes inputs of raw rows.
        skip: Leave rows out that cannot be read, and count them.

    Raises:
        DataError: While iterating, when a row cannot be read and is not to be left out, its label is none of the
            classes, the stream breaks off, or has no row that can be read.
    """

    def __init__(self, data: StreamedData, split: str, inputs: RawInputs, *, skip: bool = False) -> None:
        self.data, self.split, self.inputs, self.skip = data, split, inputs, skip
        self.skipped = 0
        """Rows that the last pass has left out."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        make = RowMaker(self.data, self.split, self.inputs, skip=self.skip)
        for row, given in enumerate(self.data.rows(self.split)):
            made = make(given, row)
            self.skipped = make.skipped
            if made is not None:
                yield made
        make.tell()


def fetched(value: Any, split: str, row: int) -> Any:
    """A file that lies elsewhere as its bytes; all else as it is.

    Args:
        value: As the stream gives it.
        split: The row's split.
        row: Its place there, for the sentence.

    Raises:
        DataError: When it cannot be had.
    """
    if not isinstance(value, Mapping) or value.get("bytes") is not None or "://" not in str(value.get("path")):
        return value
    try:
        with fsspec.open(value["path"], "rb") as file:
            return {**value, "bytes": file.read()}
    except Exception as error:  # a line that is dead is no row to be left out
        raise DataError(f"The file of row {row} of {split} cannot be fetched: {first_line(error)}") from error
