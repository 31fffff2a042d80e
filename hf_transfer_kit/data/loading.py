"""Data from the Hub, a folder, a file, or the embedded sets, checked and split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from datasets import ClassLabel, Dataset

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.data.class_names import is_class, is_text
from hf_transfer_kit.data.columns import Columns, check_columns, find_columns
from hf_transfer_kit.data.decoding import readable_rows, require_soundfile
from hf_transfer_kit.data.label_kinds import (
    CLASSIFICATION,
    LABEL_KINDS,
    TOKEN_CLASSIFICATION,
    joined_numbers,
    renamed,
)
from hf_transfer_kit.data.labels import (
    all_labelled,
    any_label,
    class_values,
    replaced,
    tell_counts,
    with_class_labels,
    with_class_order,
    with_present_classes,
)
from hf_transfer_kit.data.row_choice import ROW, numbered_rows
from hf_transfer_kit.data.splits import check_size, make_splits
from hf_transfer_kit.data.stored_splits import SPLIT_NAMES, display_name, stored_splits
from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.options import check_seed
from hf_transfer_kit.task_types import check_task_type


@dataclass(frozen=True)
class LoadedData:
    """A dataset with its three splits.

    Args:
        name: For people: the Hub name, the embedded name, or the last part of a path.
        modality: ``"image"``, ``"text"`` or ``"audio"``.
        train: Rows to learn from.
        validation: Rows to select on.
        test: Rows for the final figures.
        input_columns: One column, or two for pairs of texts.
        label_column: A ClassLabel column, -1 in rows without a label; None where no row has one. Of other tasks what
            ``hf_transfer_kit.data.label_kinds`` makes of it.
        label_names: Names of the classes (of the symbols, for ``ctc``; of the columns, for several numbers a row);
            none without a label column.
        skipped_rows: Unreadable rows that were left out.
        task_type: ``"classification"``, ``"regression"``, ``"multi_label"``, ``"token_classification"`` or ``"ctc"``.
        given_rows: Split -> place of each of its rows in the split as it was given; empty where that is not known.
        numbered_classes: Whether the data gives its classes numbers and no names, so that ``label_names`` are these.
        streamed: Whether the rows to learn from are a stream, of which ``train`` holds a few to look at.
    """

    name: str
    modality: str
    train: Dataset
    validation: Dataset
    test: Dataset
    input_columns: tuple[str, ...]
    label_column: str | None
    label_names: tuple[str, ...]
    skipped_rows: int = 0
    task_type: str = CLASSIFICATION
    given_rows: Mapping[str, Sequence[int]] = field(default_factory=dict)
    numbered_classes: bool = False
    streamed: bool = False

    @property
    def labelled_splits(self) -> tuple[str, ...]:
        """The splits of which every row has a label."""
        if self.task_type != CLASSIFICATION:
            return tuple(SPLIT_NAMES)
        return tuple(split for split in SPLIT_NAMES if all_labelled(getattr(self, split), self.label_column))

    @property
    def known_label_column(self) -> str:
        """``label_column`` of data that has one.

        Raises:
            DataError: When no row has a label.
        """
        if self.label_column is None:
            raise DataError(f"{self.name} has no labels, which are needed here. Name their column with label_column.")
        return self.label_column

    def sizes(self) -> dict[str, int]:
        """Rows of each split that is no stream."""
        return {split: len(data) for split, data in self._known_splits()}

    def fingerprints(self) -> dict[str, str]:
        """The fingerprint that ``datasets`` gives each split that is no stream."""
        return {split: data._fingerprint for split, data in self._known_splits()}

    def _known_splits(self) -> list[tuple[str, Dataset]]:
        return [(split, getattr(self, split)) for split in SPLIT_NAMES if not (self.streamed and split == "train")]

    def relabelled(
        self,
        label_column: str,
        task_type: str = CLASSIFICATION,
        *,
        rename_classes: Mapping[str, str] | Sequence[str] | None = None,
    ) -> LoadedData:
        """The same rows with another column, one of ``keep_columns``, as the label.

        Args:
            label_column: The column.
            task_type: What its labels are.
            rename_classes: As in ``load_data``.

        Raises:
            DataError: When there is no such column, or it holds no labels of that kind.
            SettingsError: When the type is unknown, or names do not fit.
        """
        check_task_type(task_type)
        splits = {split: numbered_rows({split: getattr(self, split)})[split] for split in SPLIT_NAMES}
        if label_column not in self.train.features:
            raise DataError(
                f"{self.name} was loaded without the column {label_column!r}; it has "
                f"{', '.join(self.train.column_names)}. Keep it with keep_columns, under a name of the dataset."
            )
        splits, names = _labels_of_kind(splits, label_column, task_type, self.input_columns, rename_classes)
        splits = {split: data.remove_columns(ROW) for split, data in splits.items()}
        return replace(self, **splits, label_column=label_column, label_names=names, task_type=task_type)


@checked_arguments(own_words_first=True)
def load_data(
    name_or_path: str | Path,
    *,
    config_name: str | None = None,
    revision: str | None = None,
    input_column: str | None = None,
    label_column: str | None = None,
    modality: str | None = None,
    keep_rows: Mapping[str, Sequence[str]] | None = None,
    labelled: bool = True,
    class_names: Sequence[str] | None = None,
    open_classes: bool = False,
    task_type: str = CLASSIFICATION,
    rename_classes: Mapping[str, str] | Sequence[str] | None = None,
    keep_columns: Sequence[str] = (),
    train_size: int | float | None = None,
    validation_size: int | float = 0.2,
    test_size: int | float = 0.2,
    missing_label: str | int | None = None,
    skip_bad_rows: bool = False,
    seed: int = 0,
) -> LoadedData:
    """Loads a dataset, finds its columns, makes missing splits and checks every row that will be used.

    Args:
        name_or_path: A Hub name; a folder with train (validation, test) files in parquet, csv or json, with pictures
            in one folder a class, or written by ``save_to_disk``; one such file; ``"digits"`` or ``"digits_m"``.
        config_name: Configuration of a Hub dataset.
        revision: Revision of a Hub dataset.
        input_column: Column of the inputs; two names joined by a comma for pairs of texts. Found by type otherwise.
        label_column: Column of the classes. Found by name or type otherwise. For regression several columns of numbers
            may be joined by commas: ``"width,height"``.
        modality: What the inputs are, where a dataset holds several kinds.
        keep_rows: Column -> values, compared as text: only rows with one of them are read, in every split. The domains
            of one dataset are told apart so: ``{"speaker": ["george", "lucas"]}``. Where they choose by the label
            column, the classes are those that are left.
        labelled: Whether every row needs a label. Rows of a target domain need none (None, or -1 where classes have
            names): labels that are there serve for evaluation alone, and its splits are not stratified.
        class_names: Names of the source's classes: those of this dataset must be the same, or without ``labelled``
            some of them, and are put in their order.
        open_classes: Whether the dataset may have classes beyond ``class_names``; they stand behind them.
        task_type: ``"classification"``; ``"regression"`` (a number a row, or a list of them), ``"multi_label"`` (a list
            of classes), ``"token_classification"`` (lists of words and as many classes) or ``"ctc"`` (a transcript,
            spelled by its characters).
        rename_classes: New names of the classes in their order, or old -> new. With ``ctc``, classes are spelled by
            these names.
        keep_columns: Further columns that rows keep, such as labels of other tasks (see ``LoadedData.relabelled``).
        train_size: Rows to train on, stratified: a count, or a share in (0, 1]; None for all.
        validation_size: Share in (0, 1) held out where there is no validation split, or a whole number of rows.
        test_size: The same where there is no test split.
        missing_label: A value that stands for no label, beside None. Numbers have no such value by themselves.
        skip_bad_rows: Leave rows out that cannot be read, and count them.
        seed: Seed of subsets and of splits that are made.

    Raises:
        DataError: When the data cannot be found or read, or columns, labels, classes or sizes do not fit.
        SettingsError: When ``keep_rows`` has one text where a list of values belongs, the type of task is unknown or
            needs labels that may be missing, names of classes do not fit, or a seed or a size is out of range.

    Example:
        >>> loaded = load_data(csv_file, train_size=8)
        >>> loaded.label_names, loaded.sizes()
        (('bad', 'good'), {'train': 8, 'validation': 3, 'test': 4})
    """
    check_task_type(task_type)
    check_seed("load_data", seed)
    check_size("validation_size", validation_size)
    check_size("test_size", test_size)
    if not labelled and (task_type != CLASSIFICATION or rename_classes):
        raise SettingsError(
            f"Rows without labels are known for classification alone, with the names that classes have, but "
            f"task_type={task_type!r} and rename_classes={rename_classes!r}. Leave both out, or give labels."
        )
    name = str(name_or_path)
    found = joined_numbers(
        stored_splits(name, config_name=config_name, revision=revision), [label_column, *keep_columns]
    )
    columns = find_columns(
        found["train"],
        input_column=input_column,
        label_column=label_column,
        modality=modality,
        labelled=labelled,
        words=task_type == TOKEN_CLASSIFICATION,
        transcripts=task_type == "ctc",
    )
    check_columns(found, columns, keep_columns)
    if columns.modality == "audio":
        require_soundfile()
    found = numbered_rows(found, keep_rows)
    found = {
        split: data.select_columns(
            list(dict.fromkeys([*columns.inputs, *filter(None, [columns.label]), *keep_columns, ROW]))
        )
        for split, data in found.items()
    }
    numbered = rename_classes is None and not _are_named(found, columns.label)
    if task_type == CLASSIFICATION:
        found, label, names = _classes_read(
            found,
            columns,
            labelled=labelled,
            class_names=class_names,
            open_classes=open_classes,
            missing_label=missing_label,
            chosen=columns.label in (keep_rows or {}),
        )
        if rename_classes is not None and label is not None:
            found, names = _with_names(found, label, renamed(names, rename_classes))
    else:
        label = cast(str, columns.label)  # found, or refused by find_columns
        found, names = _labels_of_kind(found, label, task_type, columns.inputs, rename_classes)
    splits = make_splits(
        found["train"],
        found.get("validation"),
        found.get("test"),
        # Labels of a target must not touch anything, the split of its rows included.
        label if labelled and task_type == CLASSIFICATION else None,
        train_size=train_size,
        validation_size=validation_size,
        test_size=test_size,
        seed=seed,
    )
    origins = {split: split if split in found else "train" for split in splits}
    splits, skipped = _readable(splits, columns, origins, skip=skip_bad_rows)
    given_rows = {split: tuple(data[ROW]) for split, data in splits.items()}
    splits = {split: data.remove_columns(ROW) for split, data in splits.items()}
    if label is not None and task_type == CLASSIFICATION:
        tell_counts({split: class_values(data, label) for split, data in splits.items()}, names, labelled=labelled)
    return LoadedData(
        name=display_name(name),
        modality=columns.modality,
        input_columns=columns.inputs,
        label_column=label,
        label_names=names,
        skipped_rows=skipped,
        task_type=task_type,
        given_rows=given_rows,
        numbered_classes=numbered,
        **splits,
    )


def _are_named(splits: dict[str, Dataset], label: str | None) -> bool:
    """Whether a column of classes holds names, in any split, and not numbers alone."""
    kinds = [] if label is None else [data.features[label] for data in splits.values()]
    return any(is_class(kind) or is_text(kind) for kind in kinds)


def _classes_read(
    splits: dict[str, Dataset],
    columns: Columns,
    *,
    labelled: bool,
    class_names: Sequence[str] | None,
    open_classes: bool,
    missing_label: str | int | None,
    chosen: bool,
) -> tuple[dict[str, Dataset], str | None, tuple[str, ...]]:
    """The splits, their label column if any row has a label, and the names of its classes."""
    label = columns.label
    if label is None or not (labelled or any_label(splits, label)):
        return {split: data.select_columns([*columns.inputs, ROW]) for split, data in splits.items()}, None, ()
    splits = with_class_labels(splits, label, labelled=labelled, missing_label=missing_label)
    if chosen:  # rows of some classes were asked for: the others are none
        splits = with_present_classes(splits, label)
    if class_names is not None:
        splits = with_class_order(splits, label, class_names, partial=not labelled, open_classes=open_classes)
    return splits, label, tuple(splits["train"].features[label].names)


def _labels_of_kind(
    splits: dict[str, Dataset],
    label: str,
    task_type: str,
    inputs: Sequence[str],
    rename_classes: Mapping[str, str] | Sequence[str] | None,
) -> tuple[dict[str, Dataset], tuple[str, ...]]:
    """The splits with labels of a kind, and their names."""
    if task_type == CLASSIFICATION:
        splits = with_class_labels(splits, label)
        return _with_names(splits, label, renamed(splits["train"].features[label].names, rename_classes))
    if rename_classes is not None and task_type != "ctc":
        raise SettingsError(f"rename_classes renames classes of classification and ctc, not of {task_type}.")
    more = {TOKEN_CLASSIFICATION: (inputs[0],), "ctc": (rename_classes,)}.get(task_type, ())
    return LABEL_KINDS[task_type](splits, label, *more)


def _with_names(
    splits: dict[str, Dataset], label: str, names: tuple[str, ...]
) -> tuple[dict[str, Dataset], tuple[str, ...]]:
    feature = ClassLabel(names=list(names))
    return {split: replaced(data, label, data[label][:], feature) for split, data in splits.items()}, names


def _readable(
    splits: dict[str, Dataset], columns: Columns, origins: dict[str, str], *, skip: bool
) -> tuple[dict[str, Dataset], int]:
    """The splits with the rows that can be read; rows are named by their place in the split they were given in."""
    total = 0
    for split, origin in origins.items():
        data = splits[split]
        for column in columns.inputs:
            data, bad = readable_rows(data, column, columns.modality, split=origin, rows=data[ROW], skip=skip)
            total += bad
        splits[split] = data
    return splits, total
