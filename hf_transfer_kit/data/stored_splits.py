"""Where a dataset lies and which splits it has: the Hub, a folder, a file, or the embedded sets."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict, IterableDataset, load_dataset, load_from_disk
from datasets.exceptions import DatasetNotFoundError

from hf_transfer_kit.data.embedded import EMBEDDED, embedded_data
from hf_transfer_kit.data.media_folders import MEDIA, media_of, read_folders, read_listed
from hf_transfer_kit.data.split_words import SPLIT_NAMES, files_by_split, renamed_splits
from hf_transfer_kit.data.tables import KINDS, read_tables, stream_tables, streamed_splits
from hf_transfer_kit.errors import DataError, SettingsError, first_line
from hf_transfer_kit.logs import get_logger
from hf_transfer_kit.near_names import did_you_mean

logger = get_logger(__name__)

_NO_DATA = {"dataset_infos.json", "dataset_info.json", "dataset_dict.json", "state.json", "config.json"}


def display_name(name: str) -> str:
    """A dataset's name for people: of a local path the last part, without its place on the machine."""
    return Path(name).resolve().name if os.path.exists(name) else name


def stored_splits(name: str, *, config_name: str | None = None, revision: str | None = None) -> dict[str, Dataset]:
    """The splits that are there, under the names train, validation and test.

    Args:
        name: A Hub name, a path, or an embedded name.
        config_name: Configuration of a Hub dataset.
        revision: Revision of a Hub dataset.

    Raises:
        SettingsError: When a revision is of no Hub dataset, or a configuration of data that has none.
        DataError: When nothing can be read there, there is no train split, or a split is empty.
    """
    splits: dict[str, Dataset] = _found_splits(name, config_name=config_name, revision=revision, streaming=False)
    empty = [split for split, data in splits.items() if not len(data)]
    if empty:
        raise DataError(f"The split {', '.join(empty)} of {name} has no rows.")
    return splits


def _found_splits(name: str, *, config_name: str | None, revision: str | None, streaming: bool) -> dict[str, Any]:
    """The splits; of what is read as a table or from the Hub, and is asked for as streams, streams."""
    if not name.strip():
        raise DataError("The name of the dataset is empty: give a Hub name, a folder or file, digits or digits_m.")
    is_here = os.path.exists(name)  # where Path.exists raises, of a name that is too long, it says no
    if (is_here or name in EMBEDDED) and revision is not None:
        raise SettingsError(f"{name} is not on the Hub, so it has no revision {revision!r}. Leave the revision out.")
    if name in EMBEDDED and not is_here:
        if config_name is not None:
            raise SettingsError(f"{name} comes with the kit and has no configuration {config_name!r}. Leave it out.")
        found: Mapping[str, Any] = embedded_data(name)
    elif is_here:
        if config_name is not None and not _is_configured(Path(name)):
            raise SettingsError(
                f"{name} has no configurations, so {config_name!r} is none: only a folder whose README.md names "
                "configs has. Leave it out."
            )
        found = _local(Path(name), config_name, streaming=streaming)
    else:
        found = _hub(name, config_name=config_name, revision=revision, streaming=streaming)
    splits = renamed_splits(found)
    if "train" not in splits:
        raise DataError(f"{name} has the splits {', '.join(found)} but none called train, which is needed.")
    return splits


def stored_streams(
    name: str, *, config_name: str | None = None, revision: str | None = None
) -> dict[str, IterableDataset]:
    """The same as streams, of which no row is read yet but those that tell what the columns hold.

    Args:
        name: As in ``stored_splits``.
        config_name: Likewise.
        revision: Likewise.

    Raises:
        SettingsError: As ``stored_splits`` does.
        DataError: Likewise; that a split is empty is seen by who reads it.
    """
    splits = _found_splits(name, config_name=config_name, revision=revision, streaming=True)
    return {
        split: data.to_iterable_dataset() if isinstance(data, Dataset) else _with_features(name, data)
        for split, data in splits.items()
    }


def _with_features(name: str, stream: IterableDataset) -> IterableDataset:
    """A stream that knows what its columns hold, from its first rows where nothing else says so."""
    try:
        return stream._resolve_features()
    except Exception as error:  # the readers of files and the Hub have each their own
        raise DataError(f"{display_name(name)} cannot be read as a stream: {first_line(error)}") from error


def _local(path: Path, config_name: str | None, *, streaming: bool) -> dict[str, Any]:
    read = stream_tables if streaming else read_tables
    if path.is_file():
        if path.suffix.lower() not in KINDS:
            raise DataError(f"{path} is no data file: the endings {', '.join(KINDS)} can be read.")
        return {"train": read([path])}
    if (path / "dataset_info.json").is_file() or (path / "dataset_dict.json").is_file():
        data = load_from_disk(str(path))
        return dict(data) if isinstance(data, DatasetDict) else {"train": data}
    if _is_configured(path):
        try:
            load = streamed_splits if streaming else load_dataset
            return dict(load(str(path), config_name))
        except Exception as error:  # whatever its builder raises
            raise DataError(f"{path} cannot be read as its README.md says: {first_line(error)}") from error
    if path.resolve() == path.resolve().parent:
        raise DataError(f"{path} is a whole disk. Give the folder of the data alone.")
    try:
        files = [file for file in sorted(path.rglob("*")) if is_seen(file, path)]
    except OSError as error:
        raise DataError(
            f"The folder {path} cannot be gone through ({first_line(error)}). Give the folder of the data alone."
        ) from error
    tables = [file for file in files if file.suffix.lower() in KINDS and file.name not in _NO_DATA]
    kinds = Counter(kind for file in files if (kind := media_of(file)))
    if kinds:
        kind = kinds.most_common(1)[0][0]
        media = [file for file in files if media_of(file) == kind]
        listed = read_listed(tables, media, path, kind)
        if listed or not tables or len({file.parent for file in media}) > 1:
            return listed or read_folders(media, path, kind)
        logger.warning(f"{len(media)} files beside the tables of {path.name} are left out: no table names them.")
    if tables:
        of_kind = Counter(KINDS[file.suffix.lower()] for file in tables)
        if len(of_kind) > 1:
            raise DataError(f"{path} mixes {' and '.join(sorted(of_kind))} files; keep one kind in a folder.")
        return {split: read(own) for split, own in files_by_split(tables, path).items()}
    endings = ", ".join(KINDS)
    raise DataError(
        f"The folder {path} holds no data: neither {endings} files, nor pictures ({', '.join(sorted(MEDIA['image']))}) "
        f"or sounds ({', '.join(sorted(MEDIA['audio']))})."
    )


def is_seen(file: Path, root: Path) -> bool:
    """Whether it is a file that neither it nor a folder around it, up to ``root``, is hidden."""
    parts = file.relative_to(root).parts
    return file.is_file() and not any(part.startswith((".", "__MACOSX")) for part in parts)


def _is_configured(path: Path) -> bool:
    """Whether a README.md says where the data of a cloned Hub dataset lies."""
    readme = path / "README.md"
    if not readme.is_file():
        return False
    header = readme.read_text(encoding="utf-8", errors="replace").split("\n---", 1)[0]
    return header.startswith("---") and ("\nconfigs:" in header or "\ndata_files:" in header)


def _hub(name: str, *, config_name: str | None, revision: str | None, streaming: bool) -> Mapping[str, Any]:
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise DataError(f"There is no dataset at {name}: the path does not exist.")
    try:
        load = streamed_splits if streaming else load_dataset
        return load(name, config_name, revision=revision)
    except (DatasetNotFoundError, OSError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{name} is no local path, no embedded dataset ({', '.join(EMBEDDED)}), and could not be loaded from "
            f"the Hub ({first_line(error)}).{did_you_mean(name, EMBEDDED)}"
        ) from error


__all__ = ["SPLIT_NAMES", "display_name", "stored_splits", "stored_streams"]
