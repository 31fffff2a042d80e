"""Labelled data from the Hub, a folder, a file, or the embedded sets, checked and split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from datasets import Dataset, DatasetDict, load_dataset, load_from_disk
from datasets.exceptions import DatasetNotFoundError

from hf_transfer_kit.data.columns import Columns, find_columns
from hf_transfer_kit.data.decoding import readable_rows, require_soundfile
from hf_transfer_kit.data.embedded import EMBEDDED, embedded_data
from hf_transfer_kit.data.labels import with_class_labels
from hf_transfer_kit.data.splits import make_splits
from hf_transfer_kit.errors import DataError

_BUILDERS = {".parquet": "parquet", ".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json"}
_SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing"),
}
_ROW = "row_as_given"
_PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}


@dataclass(frozen=True)
class LoadedData:
    """A labelled dataset with its three splits.

    Args:
        name: For people: the Hub name, the embedded name, or the last part of a path.
        modality: ``"image"``, ``"text"`` or ``"audio"``.
        train: Rows to learn from.
        validation: Rows to select on.
        test: Rows for the final figures.
        input_columns: One column, or two for pairs of texts.
        label_column: A ClassLabel column.
        label_names: Names of the classes.
        skipped_rows: Unreadable rows that were left out.
    """

    name: str
    modality: str
    train: Dataset
    validation: Dataset
    test: Dataset
    input_columns: tuple[str, ...]
    label_column: str
    label_names: tuple[str, ...]
    skipped_rows: int = 0

    def sizes(self) -> dict[str, int]:
        """Rows of each split."""
        return {split: len(getattr(self, split)) for split in _SPLIT_NAMES}

    def fingerprints(self) -> dict[str, str]:
        """The fingerprint that ``datasets`` gives each split."""
        return {split: getattr(self, split)._fingerprint for split in _SPLIT_NAMES}


def load_data(
    name_or_path: str | Path,
    *,
    config_name: str | None = None,
    revision: str | None = None,
    input_column: str | None = None,
    label_column: str | None = None,
    modality: str | None = None,
    train_size: int | float | None = None,
    validation_size: float = 0.2,
    test_size: float = 0.2,
    skip_bad_rows: bool = False,
    seed: int = 0,
) -> LoadedData:
    """Loads a labelled dataset, finds its columns, makes missing splits and checks every row that will be used.

    Args:
        name_or_path: A Hub name; a folder with train (validation, test) files in parquet, csv or json, with pictures
            in one folder a class, or written by ``save_to_disk``; one such file; ``"digits"`` or ``"digits_m"``.
        config_name: Configuration of a Hub dataset.
        revision: Revision of a Hub dataset.
        input_column: Column of the inputs; two names joined by a comma for pairs of texts. Found by type otherwise.
        label_column: Column of the classes. Found by name or type otherwise.
        modality: What the inputs are, where a dataset holds several kinds.
        train_size: Labelled rows to train on, stratified: a count, or a share in (0, 1]; None for all.
        validation_size: Share held out where there is no validation split.
        test_size: Share held out where there is no test split.
        skip_bad_rows: Leave rows out that cannot be read, and count them.
        seed: Seed of subsets and of splits that are made.

    Raises:
        DataError: When the data cannot be found or read, or columns, labels or sizes do not fit.
    """
    name = str(name_or_path)
    found = _found_splits(name, config_name=config_name, revision=revision)
    columns = find_columns(found["train"], input_column=input_column, label_column=label_column, modality=modality)
    if columns.modality == "audio":
        require_soundfile()
    found = {split: data.select_columns([*columns.inputs, columns.label]) for split, data in found.items()}
    found = with_class_labels(found, columns.label)
    found = {split: data.add_column(_ROW, list(range(len(data)))) for split, data in found.items()}
    splits = make_splits(
        found["train"],
        found.get("validation"),
        found.get("test"),
        columns.label,
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
        label_column=columns.label,
        label_names=tuple(found["train"].features[columns.label].names),
        skipped_rows=skipped,
        **splits,
    )


def display_name(name: str) -> str:
    """A dataset's name for people: of a local path the last part, without its place on the machine."""
    return Path(name).resolve().name if Path(name).exists() else name


def _found_splits(name: str, *, config_name: str | None, revision: str | None) -> dict[str, Dataset]:
    """The splits that are there, under the names train, validation and test."""
    if name in EMBEDDED and not Path(name).exists():
        found = embedded_data(name)
    elif Path(name).exists():
        found = _local(Path(name))
    else:
        found = _hub(name, config_name=config_name, revision=revision)
    splits = {}
    for split, names in _SPLIT_NAMES.items():
        match = next((found[key] for key in names if key in found), None)
        if match is not None:
            splits[split] = match
    if "train" not in splits:
        raise DataError(f"{name} has the splits {', '.join(found)} but none called train, which is needed.")
    empty = [split for split, data in splits.items() if not len(data)]
    if empty:
        raise DataError(f"The split {', '.join(empty)} of {name} has no rows.")
    return splits


def _local(path: Path) -> DatasetDict:
    if path.is_file():
        if path.suffix not in _BUILDERS:
            raise DataError(f"{path} is no data file: the endings {', '.join(_BUILDERS)} can be read.")
        return _load(_BUILDERS[path.suffix], {"train": str(path)}, path)
    if (path / "dataset_info.json").is_file() or (path / "dataset_dict.json").is_file():
        data = load_from_disk(str(path))
        return data if isinstance(data, DatasetDict) else DatasetDict(train=data)
    files = [file for file in sorted(path.iterdir()) if file.suffix in _BUILDERS]
    if files:
        kinds = {_BUILDERS[file.suffix] for file in files}
        if len(kinds) > 1:
            raise DataError(f"{path} mixes {' and '.join(sorted(kinds))} files; keep one kind in a folder.")
        return _load(kinds.pop(), _files_by_split(files), path)
    if any(file.suffix.lower() in _PICTURES for file in path.rglob("*")):
        return _load("imagefolder", None, path)
    raise DataError(
        f"The folder {path} holds no data: neither {', '.join(_BUILDERS)} files, nor pictures in one folder a class."
    )


def _files_by_split(files: list[Path]) -> dict[str, list[str]]:
    """Files by the split their name begins with; all are train where no name tells."""
    by_split: dict[str, list[str]] = {}
    for file in files:
        split = next((s for s, names in _SPLIT_NAMES.items() if file.stem.lower().startswith(names)), None)
        if split:
            by_split.setdefault(split, []).append(str(file))
    return by_split or {"train": [str(file) for file in files]}


def _load(builder: str, files: dict | None, path: Path) -> DatasetDict:
    arguments = {"data_dir": str(path)} if files is None else {"data_files": files}
    if path.suffix == ".tsv":
        arguments["sep"] = "\t"
    try:
        return load_dataset(builder, **arguments)
    except Exception as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise DataError(f"{path} cannot be read as {builder}: {reason}") from error


def _hub(name: str, *, config_name: str | None, revision: str | None) -> DatasetDict:
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise DataError(f"There is no dataset at {name}: the path does not exist.")
    try:
        return load_dataset(name, config_name, revision=revision)
    except (DatasetNotFoundError, OSError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{name} is no local path, no embedded dataset ({', '.join(EMBEDDED)}), and could not be loaded from "
            f"the Hub ({str(error).splitlines()[0]})."
        ) from error


def _readable(
    splits: dict[str, Dataset], columns: Columns, origins: dict[str, str], *, skip: bool
) -> tuple[dict[str, Dataset], int]:
    """The splits with the rows that can be read; rows are named by their place in the split they were given in."""
    total = 0
    for split, origin in origins.items():
        data = splits[split]
        for column in columns.inputs:
            data, bad = readable_rows(data, column, columns.modality, split=origin, rows=data[_ROW], skip=skip)
            total += bad
        splits[split] = data.remove_columns(_ROW)
    return splits, total
