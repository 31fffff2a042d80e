"""What people give to be predicted (files, folders, tables, texts, pictures, waves) as rows with names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict, load_from_disk
from PIL import Image as Pictures

from hf_transfer_kit.data.media_folders import MEDIA, media_of
from hf_transfer_kit.data.stored_splits import is_seen
from hf_transfer_kit.data.tables import KINDS, read_tables
from hf_transfer_kit.errors import DataError
from hf_transfer_kit.near_names import did_you_mean
from hf_transfer_kit.predicting.table_columns import FILE_COLUMN, column_values

LINES = ".txt"
"""Ending of files that hold a text on each line."""
_AT_ONCE = 64
_NOTHING = "there is no such file"


@dataclass(frozen=True)
class GivenRow:
    """One row before it is read.

    Args:
        name: Of the row, for people.
        kind: What it holds: ``"image"``, ``"audio"``, ``"text"``, or None where its name does not tell.
        value: As ``RawInputs`` takes it.
        problem: Why it cannot be read, where that is known already.
    """

    name: str | int
    kind: str | None
    value: Any
    problem: str | None = None


@dataclass(frozen=True)
class RowReader:
    """Reads what is given.

    Args:
        kinds: What the network reads, in its order: ``"image"``, ``"audio"``, ``"text"``.
        words: Whether rows of tables are lists of words.
        columns: Input columns of the data that the network was measured on, where they are known.
        input_column: The column of tables that the user names; two joined by a comma for pairs of texts.
        sampling_rate: In Hz, of waves that come without one.
    """

    kinds: tuple[str, ...]
    words: bool = False
    columns: tuple[str, ...] = ()
    input_column: str | None = None
    sampling_rate: int | None = None

    def rows(self, given: Any) -> Rows:
        """The rows of one thing, or of a list of things.

        Raises:
            DataError: When it is none of what can be read, or a table has no column to read.
        """
        if isinstance(given, Dataset):
            return Rows([self._of_table(given, None, None)])
        if isinstance(given, DatasetDict):
            splits = ", ".join(given)
            raise DataError(f"The dataset has the splits {splits}. Give one of them: data[{next(iter(given))!r}].")
        if isinstance(given, np.ndarray) and given.ndim == 4:
            given = list(given)
        if isinstance(given, str) and self.kinds == ("text",) and names_data(given):
            given = Path(given)
        entries = list(given) if _is_several(given) else [given]
        if not entries:
            raise DataError("Nothing was given to predict: the list is empty.")
        alone = len(entries) == 1
        parts: list[_Part] = []
        for place, entry in enumerate(entries):
            if isinstance(entry, Path) or (isinstance(entry, str) and self.kinds != ("text",)):
                parts.append(self._of_path(Path(entry), alone))
            elif isinstance(entry, Dataset):
                parts.append(self._of_table(entry, str(place), None))
            else:
                parts.append(_Part([place], [self._of_value(entry)], None))
        return Rows(parts)

    def _of_path(self, path: Path, alone: bool) -> _Part:
        if not path.exists():
            return _Part.broken(path, f"{_NOTHING}{_near(path)}")
        if path.is_dir():
            return self._of_folder(path, alone)
        ending = path.suffix.lower()
        if ending in KINDS:
            return self._of_table(read_tables([path]), None if alone else str(path), path.parent)
        if ending == LINES and "text" in self.kinds:
            texts = [line.strip() for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines()]
            read = [(n, text) for n, text in enumerate(texts) if text]
            if not read:
                return _Part.broken(path, "it holds no text")
            return _Part([n if alone else f"{path}:{n}" for n, _ in read], [text for _, text in read], "text")
        kind = media_of(path)
        media = [each for each in self.kinds if each != "text"]
        if kind not in self.kinds and (kind is not None or not media):
            return _Part.broken(path, f"it is no file of {_listed(self.kinds)}")
        return _Part([str(path)], [{"path": str(path)}], kind or (media[0] if len(media) == 1 else None))

    def _of_folder(self, folder: Path, alone: bool) -> _Part:
        if (folder / "dataset_info.json").is_file():
            return self._of_table(load_from_disk(str(folder)), None if alone else str(folder), folder)
        if (folder / "dataset_dict.json").is_file():
            splits = sorted(path.parent.name for path in folder.glob("*/dataset_info.json"))
            return _Part.broken(folder, f"it holds the splits {', '.join(splits)}; give the folder of one")
        files = [path for path in sorted(folder.rglob("*")) if is_seen(path, folder)]
        media = [path for path in files if media_of(path) in self.kinds]
        if media:
            return _Part.joined([self._of_path(path, False) for path in media])
        tables = [path for path in files if path.suffix.lower() in KINDS or path.suffix.lower() == LINES]
        if tables:
            return _Part.joined([self._of_path(path, False) for path in tables])
        return _Part.broken(folder, f"the folder holds no file of {_listed(self.kinds)}")

    def _of_table(self, data: Dataset, name: str | None, folder: Path | None) -> _Part:
        kind, values = column_values(
            data, self.kinds, words=self.words, known=self.columns, input_column=self.input_column, folder=folder
        )
        names: Sequence[str | int] = range(len(data))
        if kind == FILE_COLUMN:
            files = [
                _Part.broken(f"row {row}", "the table names no file") if path is None else self._of_path(path, False)
                for row, path in enumerate(values)
            ]
            return _Part.joined(files)
        return _Part(names if name is None else [f"{name}:{row}" for row in names], values, kind)

    def _of_value(self, value: Any) -> GivenRow:
        """A value in memory, its name left out."""
        if isinstance(value, Pictures.Image):
            return GivenRow("", "image", value)
        if isinstance(value, np.ndarray):
            if self.kinds == ("audio",) or ("audio" in self.kinds and value.ndim == 1):
                if self.sampling_rate is None:
                    return GivenRow("", "audio", None, "it is a wave without a rate; give sampling_rate in Hz")
                return GivenRow("", "audio", {"array": value, "sampling_rate": self.sampling_rate})
            return GivenRow("", "image", value)
        if isinstance(value, Mapping) and "array" in value and "sampling_rate" in value:
            return GivenRow("", "audio", value)
        if isinstance(value, Mapping) and {"bytes", "path"} & set(value):
            return GivenRow("", None, {"bytes": None, "path": None, **value})
        if isinstance(value, str) or _are_texts(value):
            return GivenRow("", "text", list(value) if isinstance(value, list) else value)
        return GivenRow("", None, None, f"a {type(value).__name__} is nothing of {_listed(self.kinds)}")


@dataclass(frozen=True)
class _Part:
    """Rows of one kind; values may be a column that is read when it is asked."""

    names: Sequence[str | int]
    values: Sequence[Any]
    kind: str | None

    @classmethod
    def broken(cls, name: str | Path, problem: str) -> _Part:
        return cls([str(name)], [GivenRow(str(name), None, None, problem)], None)

    @classmethod
    def joined(cls, parts: Sequence[_Part]) -> _Part:
        rows = [row for part in parts for row in part]
        return cls([row.name for row in rows], rows, None)

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[GivenRow]:
        for start in range(0, len(self.names), _AT_ONCE):
            values = self.values[start : start + _AT_ONCE]
            for name, value in zip(self.names[start : start + _AT_ONCE], values, strict=True):
                if isinstance(value, GivenRow):
                    yield GivenRow(name, value.kind, value.value, value.problem)
                else:
                    yield GivenRow(name, self.kind, value)


@dataclass(frozen=True)
class Rows:
    """All rows in the order in which they were given, each read when it is asked for."""

    parts: Sequence[_Part]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __iter__(self) -> Iterator[GivenRow]:
        for part in self.parts:
            yield from part


def typed_inputs(words: Sequence[str], kinds: Sequence[str]) -> list[str | Path]:
    """What was typed on a command line as what is asked: files, and of a network that reads texts also texts.

    Args:
        words: As typed.
        kinds: What the network reads.

    Example:
        >>> typed_inputs(["a good film", "missing.csv"], ("text",))
        ['a good film', PosixPath('missing.csv')]
    """
    return [Path(word) if tuple(kinds) != ("text",) or names_data(word) else word for word in words]


def names_data(text: str) -> bool:
    """Whether a text names a file or folder that is there, or ends as files of data do.

    ``reviews.cvs`` is then a file that is missing, not a text to classify.
    """
    if "\n" in text or len(text) > 1_000 or not text.strip():
        return False
    endings = {*KINDS, LINES, *(ending for known in MEDIA.values() for ending in known)}
    return Path(text).suffix.lower() in endings or Path(text).exists()


def _is_several(given: Any) -> bool:
    """Whether it is a list of things, not one; a tuple of texts is a pair."""
    if isinstance(given, tuple) and _are_texts(given):
        return False
    return isinstance(given, Sequence | Iterator | set) and not isinstance(given, str | bytes)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(each, str) for each in value)


def _near(path: Path) -> str:
    beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    return did_you_mean(path.name, beside).replace(" Did you mean", "; did you mean").removesuffix("?")


def _listed(kinds: Sequence[str]) -> str:
    words = {"image": "pictures", "audio": "sounds", "text": "texts"}
    return " or ".join(words[kind] for kind in kinds)
