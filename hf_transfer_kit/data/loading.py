"""Data from the Hub, a folder, a file, or the embedded sets, checked and split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets import Dataset

from hf_transfer_kit.data.columns import Columns, check_columns, find_columns
from hf_transfer_kit.data.decoding import readable_rows, require_soundfile
from hf_transfer_kit.data.labels import all_labelled, any_label, with_class_labels, with_class_order
from hf_transfer_kit.data.row_choice import ROW, numbered_rows
from hf_transfer_kit.data.splits import make_splits
from hf_transfer_kit.data.stored_splits import SPLIT_NAMES, display_name, stored_splits


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
        label_column: A ClassLabel column, -1 in rows without a label; None where no row has one.
        label_names: Names of the classes; none without a label column.
        skipped_rows: Unreadable rows that were left out.
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

    @property
    def labelled_splits(self) -> tuple[str, ...]:
        """The splits of which every row has a label."""
        return tuple(split for split in SPLIT_NAMES if all_labelled(getattr(self, split), self.label_column))

    def sizes(self) -> dict[str, int]:
        """Rows of each split."""
        return {split: len(getattr(self, split)) for split in SPLIT_NAMES}

    def fingerprints(self) -> dict[str, str]:
        """The fingerprint that ``datasets`` gives each split."""
        return {split: getattr(self, split)._fingerprint for split in SPLIT_NAMES}


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
    train_size: int | float | None = None,
    validation_size: float = 0.2,
    test_size: float = 0.2,
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
        label_column: Column of the classes. Found by name or type otherwise.
        modality: What the inputs are, where a dataset holds several kinds.
        keep_rows: Column -> values, compared as text: only rows with one of them are read, in every split. The domains
            of one dataset are told apart so: ``{"speaker": ["george", "lucas"]}``.
        labelled: Whether every row needs a label. Rows of a target domain need none (None or -1): labels that are there
            serve for evaluation alone, and its splits are not stratified.
        class_names: Names of the source's classes: those of this dataset must be the same, and are put in their order.
        train_size: Rows to train on, stratified: a count, or a share in (0, 1]; None for all.
        validation_size: Share held out where there is no validation split.
        test_size: Share held out where there is no test split.
        skip_bad_rows: Leave rows out that cannot be read, and count them.
        seed: Seed of subsets and of splits that are made.

    Raises:
        DataError: When the data cannot be found or read, or columns, labels, classes or sizes do not fit.
        SettingsError: When ``keep_rows`` has one text where a list of values belongs.
    """
    name = str(name_or_path)
    found = stored_splits(name, config_name=config_name, revision=revision)
    columns = find_columns(
        found["train"], input_column=input_column, label_column=label_column, modality=modality, labelled=labelled
    )
    check_columns(found, columns)
    if columns.modality == "audio":
        require_soundfile()
    found = numbered_rows(found, keep_rows)
    found, label, names = _labels_read(found, columns, labelled=labelled, class_names=class_names)
    splits = make_splits(
        found["train"],
        found.get("validation"),
        found.get("test"),
        # Labels of a target must not touch anything, the split of its rows included.
        label if labelled else None,
        train_size=train_size,
        validation_size=validation_size,
        test_size=test_size,
        seed=seed,
    )
    origins = {split: split if split in found else "train" for split in splits}
    splits, skipped = _readable(splits, columns, origins, skip=skip_bad_rows)
    return LoadedData(
        name=display_name(name),
        modality=columns.modality,
        input_columns=columns.inputs,
        label_column=label,
        label_names=names,
        skipped_rows=skipped,
        **splits,
    )


def _labels_read(
    splits: dict[str, Dataset], columns: Columns, *, labelled: bool, class_names: Sequence[str] | None
) -> tuple[dict[str, Dataset], str | None, tuple[str, ...]]:
    """The columns that matter of each split, the label column if any row has a label, and the names of its classes."""
    label = columns.label
    if label is None or not (labelled or any_label(splits, label)):
        return {split: data.select_columns([*columns.inputs, ROW]) for split, data in splits.items()}, None, ()
    splits = {split: data.select_columns([*columns.inputs, label, ROW]) for split, data in splits.items()}
    splits = with_class_labels(splits, label, labelled=labelled)
    if class_names is not None:
        splits = with_class_order(splits, label, class_names)
    return splits, label, tuple(splits["train"].features[label].names)


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
        splits[split] = data.remove_columns(ROW)
    return splits, total
