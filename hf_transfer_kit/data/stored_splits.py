"""Where a dataset lies and which splits it has: the Hub, a folder, a file, or the embedded sets."""

from __future__ import annotations

from pathlib import Path

from datasets import Dataset, DatasetDict, load_dataset, load_from_disk
from datasets.exceptions import DatasetNotFoundError

from hf_transfer_kit.data.embedded import EMBEDDED, embedded_data
from hf_transfer_kit.errors import DataError, first_line

SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing"),
}
"""Split -> what datasets call it."""
_BUILDERS = {".parquet": "parquet", ".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json"}
_PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}


def display_name(name: str) -> str:
    """A dataset's name for people: of a local path the last part, without its place on the machine."""
    return Path(name).resolve().name if Path(name).exists() else name


def stored_splits(name: str, *, config_name: str | None = None, revision: str | None = None) -> dict[str, Dataset]:
    """The splits that are there, under the names train, validation and test.

    Args:
        name: A Hub name, a path, or an embedded name.
        config_name: Configuration of a Hub dataset.
        revision: Revision of a Hub dataset.

    Raises:
        DataError: When nothing can be read there, there is no train split, or a split is empty.
    """
    if name in EMBEDDED and not Path(name).exists():
        found = embedded_data(name)
    elif Path(name).exists():
        found = _local(Path(name))
    else:
        found = _hub(name, config_name=config_name, revision=revision)
    splits = {}
    for split, names in SPLIT_NAMES.items():
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
        split = next((s for s, names in SPLIT_NAMES.items() if file.stem.lower().startswith(names)), None)
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
            f"the Hub ({first_line(error)})."
        ) from error
