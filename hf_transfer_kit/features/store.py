"""Rows of tensors on disk, computed once and read in place.

``<cache_dir>/<key>/`` holds ``manifest.json`` and ``shard-00000.arrow``, ...; a folder of that name is always complete:
building one (features/building.py) works in ``<key>.partial/`` and renames it at the end.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import xxhash
from datasets import Dataset, concatenate_datasets, config
from torch import Tensor

from hf_transfer_kit.errors import DataError, SettingsError, first_line
from hf_transfer_kit.features.checksums import check_hashes
from hf_transfer_kit.features.reading import IN_PLACE_LIMIT, copied, mapped_bytes
from hf_transfer_kit.features.shards import Column, Shard, arrow_features, checked_columns, read_shard
from hf_transfer_kit.near_names import did_you_mean

FORMAT = 2
MANIFEST = "manifest.json"
_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")
_RESERVED = (".partial", ".lock")


def default_cache_dir() -> Path:
    """``$HF_TRANSFER_KIT_CACHE``, else ``hf_transfer_kit`` in the cache folder of ``datasets``.

    Example:
        >>> default_cache_dir().is_absolute()
        True
    """
    return Path(os.environ.get("HF_TRANSFER_KIT_CACHE") or Path(config.HF_CACHE_HOME) / "hf_transfer_kit")


@dataclass(frozen=True)
class Layout:
    """What decides how rows lie in files.

    Args:
        columns: In order.
        rows: Of the whole store.
        rows_per_shard: Of every file but the last.

    Raises:
        SettingsError: When a number is out of range.
    """

    columns: tuple[Column, ...]
    rows: int
    rows_per_shard: int

    def __post_init__(self) -> None:
        if self.rows < 0 or self.rows_per_shard < 1:
            raise SettingsError(
                f"rows={self.rows} and rows_per_shard={self.rows_per_shard}, but a store has 0 or more rows, 1 or more "
                "in each file."
            )

    @property
    def shards(self) -> int:
        """Number of files."""
        return -(-self.rows // self.rows_per_shard)

    def span(self, shard: int) -> tuple[int, int]:
        """First row of a file, and the row after its last."""
        return shard * self.rows_per_shard, min((shard + 1) * self.rows_per_shard, self.rows)

    @staticmethod
    def shard_name(shard: int) -> str:
        """Name of a file."""
        return f"shard-{shard:05d}.arrow"

    def as_json(self) -> dict[str, Any]:
        """Plain values for the manifest."""
        return {"format": FORMAT, **json.loads(json.dumps(asdict(self)))}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Layout:
        """The layout written by ``as_json``.

        Raises:
            KeyError, TypeError, ValueError: When it is not one.
        """
        if found["format"] != FORMAT:
            raise ValueError(f"it has the format {found['format']}, this version reads {FORMAT}")
        columns = [Column(one["name"], one["dtype"], tuple(one["shape"])) for one in found["columns"]]
        return cls(checked_columns(columns), int(found["rows"]), int(found["rows_per_shard"]))


def store_path(cache_dir: str | Path, key: str) -> Path:
    """Where the store of a key lies.

    Raises:
        SettingsError: When the key cannot name a folder.
    """
    if not _KEY.fullmatch(key) or key.endswith(_RESERVED):
        raise SettingsError(
            f"The key {key!r} cannot name a cache; use letters, digits, '-', '_' and '.', not first and not as in "
            ".partial or .lock at its end."
        )
    return Path(cache_dir) / key


def find_store(cache_dir: str | Path, key: str) -> Store | None:
    """The store of a key when it is complete, else None.

    Raises:
        DataError: When it is there but damaged.
        SettingsError: When the key cannot name a folder.

    Example:
        >>> find_store("cache", "squares") is None
        True
    """
    path = store_path(cache_dir, key)
    return Store(path) if os.path.exists(path) else None  # also False where the folder may not be looked into


class Store:
    """A complete store, memory-mapped; it can be sent to worker processes, which open it again.

    Args:
        path: Its folder.
        check: Whether the hash of every file is compared; a process does so once for files that stay as they are.

    Raises:
        DataError: When a file is missing or other than it was written; the sentence names it.

    Example:
        >>> def squares(start, stop):
        ...     return {"square": torch.arange(start, stop)[:, None] ** 2}
        >>> columns = [Column("square", "int64", (1,))]
        >>> store = build_store("cache", "squares", columns, 10, squares, rows_per_shard=4)
        >>> Store(store.path).gather([3, 9])
        {'square': tensor([[ 9],
                [81]])}
    """

    def __init__(self, path: str | Path, *, check: bool = True) -> None:
        self.path = Path(path)
        manifest = _manifest(self.path)
        self.layout: Layout = manifest["layout"]
        self.metadata: dict[str, Any] = manifest["metadata"]
        self.nbytes: int = 0
        self._shards: list[Shard] = []
        for shard in range(self.layout.shards):
            file = self.path / self.layout.shard_name(shard)
            start, stop = self.layout.span(shard)
            self._shards.append(read_shard(file, self.columns, stop - start))
            self.nbytes += file.stat().st_size
        if check:
            check_hashes([shard.path for shard in self._shards], manifest["hashes"])
        with suppress(OSError):  # a cache that may not be written to is as good
            os.utime(self.path / MANIFEST)  # when it was last used, for who cleans up
        self._in_place = {
            column.name: mapped_bytes(self._shards, column.name) <= IN_PLACE_LIMIT for column in self.columns
        }

    @property
    def columns(self) -> tuple[Column, ...]:
        """What each row holds."""
        return self.layout.columns

    def __len__(self) -> int:
        return self.layout.rows

    def __reduce__(self) -> tuple[partial[Store], tuple[Path]]:
        return partial(type(self), check=False), (self.path,)  # who sends it has checked it

    def __repr__(self) -> str:
        held = ", ".join(f"{column.name} {column.dtype}{list(column.shape)}" for column in self.columns)
        return f"Store({str(self.path)!r}: {len(self)} rows of {held}; {self.nbytes / 2**20:.1f} MiB)"

    @cached_property
    def dataset(self) -> Dataset:
        """The rows as a memory-mapped dataset: flat lists, with their shapes beside variable columns."""
        files = [str(self.path / self.layout.shard_name(shard)) for shard in range(self.layout.shards)]
        if not files:
            features = arrow_features(self.columns)
            return Dataset.from_dict({name: [] for name in features}, features=features)
        return concatenate_datasets([Dataset.from_file(file) for file in files])

    def gather(
        self, rows: Sequence[int] | np.ndarray, names: Sequence[str] | None = None
    ) -> dict[str, Tensor | list[Tensor]]:
        """Rows in the order asked for, copied out of the files: column -> values that may be written to.

        Args:
            rows: Row numbers of shape (n,); negative ones count from the end; a row may be asked for twice.
            names: Columns; None takes all.

        Returns:
            Fixed columns as one tensor of shape (n, *shape), variable ones as n tensors.

        Raises:
            IndexError: When a row does not exist.
            DataError: When a column does not exist.
        """
        asked = np.asarray(rows, dtype=np.int64).reshape(-1)
        outside = (asked < -len(self)) | (asked >= len(self))
        if outside.any():
            raise IndexError(f"Row {asked[outside][0]} was asked for, but there are {len(self)}; count from 0.")
        asked = np.where(asked < 0, asked + len(self), asked)
        shards, inside = np.divmod(asked, self.layout.rows_per_shard)
        return {column.name: self._take(column, shards, inside) for column in self._chosen(names)}

    def _chosen(self, names: Sequence[str] | None) -> list[Column]:
        by_name = {column.name: column for column in self.columns}
        unknown = [name for name in names or () if name not in by_name]
        if unknown:
            raise DataError(
                f"There is no column {unknown[0]!r}; choose from {', '.join(map(repr, by_name))}."
                f"{did_you_mean(unknown[0], by_name)}"
            )
        return list(self.columns) if names is None else [by_name[name] for name in names]

    def _take(self, column: Column, shards: np.ndarray, inside: np.ndarray) -> Tensor | list[Tensor]:
        in_place, stored_dtype = self._in_place[column.name], getattr(torch, column.stored_dtype)
        taken: Tensor | list[Tensor]
        targets: Any
        if column.fixed:
            whole = torch.empty((len(inside), *cast(tuple[int, ...], column.shape)), dtype=column.torch_dtype)
            taken, targets = whole, whole.view(stored_dtype).numpy()
        else:
            parts = [self._shards[shard].views[column.name][row] for shard, row in zip(shards, inside, strict=True)]
            targets = [np.empty(part.shape, part.dtype) for part in parts]
            taken = [torch.from_numpy(target).view(column.torch_dtype) for target in targets]
        for shard in np.unique(shards):
            here, view = np.flatnonzero(shards == shard), self._shards[shard].views[column.name]
            if column.fixed and in_place:
                targets[here] = view[inside[here]]
            else:
                parts = [view[row : row + 1] if column.fixed else view[row] for row in inside[here]]
                into = [targets[place : place + 1] if column.fixed else targets[place] for place in here]
                copied(self._shards[shard], parts, into, in_place=in_place)
        return taken


def manifest_hash(values: Mapping[str, Any]) -> str:
    """32 hexadecimal digits for all that a manifest says beside them."""
    return xxhash.xxh3_128_hexdigest(json.dumps(values, sort_keys=True).encode())


def _manifest(path: Path) -> dict[str, Any]:
    file = path / MANIFEST
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        layout, written = Layout.from_json(found), found.pop("hash")
        if written != manifest_hash(found):
            raise ValueError("it was changed after it was written")
        return {"layout": layout, "metadata": found["metadata"], "hashes": found["hashes"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{file} is missing or damaged ({first_line(error)}). Delete the folder "
            f"{path} and run again: it is computed anew."
        ) from error
