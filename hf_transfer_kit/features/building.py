"""Building a store: by several processes, after a kill from where it stopped, and never by two runs at once."""

from __future__ import annotations

import functools
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datasets.utils import tqdm
from filelock import FileLock, Timeout
from torch import Tensor

from hf_transfer_kit.disk import is_full
from hf_transfer_kit.errors import DataError, FullDiskError, SettingsError
from hf_transfer_kit.features.cache_budget import readable_bytes
from hf_transfer_kit.features.checksums import SUFFIX, file_hash, noted_hash
from hf_transfer_kit.features.ranks import Ranks
from hf_transfer_kit.features.shards import Column, checked_columns, read_shard, shard_batch, write_shard
from hf_transfer_kit.features.store import MANIFEST, Layout, Store, find_store, manifest_hash, store_path
from hf_transfer_kit.logs import get_logger

logger = get_logger(__name__)

LAYOUT = "layout.json"
_LOCK_SECONDS = 20.0  # well below the time after which processes that wait for the first one give up

Compute = Callable[[int, int], Mapping[str, Tensor | Sequence[Tensor]]]


def build_store(
    cache_dir: str | Path,
    key: str,
    columns: Sequence[Column],
    rows: int,
    compute: Compute,
    *,
    rows_per_shard: int,
    metadata: Mapping[str, Any] | None = None,
    progress: str | None = None,
) -> Store:
    """The store of a key, computed shard by shard where it is not there already.

    Finished shards of a run that was stopped are kept when columns, rows and ``rows_per_shard`` are the same. Under
    ``torch.distributed`` every process calls this; each computes its share of the shards, and all return the store.

    Args:
        cache_dir: Folder of all caches; made when missing; the same one for all processes.
        key: Name of this cache; must stand for everything that ``compute`` depends on.
        columns: What each row holds.
        rows: Number of rows, 0 or more.
        compute: (start, stop) -> rows start ... stop - 1 of every column: a tensor of shape (stop - start, *shape), or
            stop - start tensors for a column whose rows differ in shape. Called with whole shards only.
        rows_per_shard: Rows of a file, 1 or more.
        metadata: Plain JSON values to keep beside the rows.
        progress: Text of a progress bar of the first process; None shows none.

    Raises:
        SettingsError: When sizes, names or metadata cannot be stored.
        DataError: When the folder cannot be written or is full, a complete cache is damaged or holds something else,
            ``compute`` returns other than promised, or another process failed. Finished shards stay.

    Example:
        >>> def squares(start, stop):
        ...     return {"square": torch.arange(start, stop)[:, None] ** 2}
        >>> columns = [Column("square", "int64", (1,))]
        >>> store = build_store("cache", "squares", columns, 10, squares, rows_per_shard=4)
        >>> len(store), store.layout.shards
        (10, 3)
    """
    ranks = Ranks()
    path = store_path(cache_dir, key)
    layout = Layout(checked_columns(columns), rows, rows_per_shard)
    metadata = _checked_metadata(metadata)
    if len(asked := set(ranks.exchange((str(path), json.dumps(layout.as_json()))))) > 1:
        raise DataError(
            f"The processes asked for {len(asked)} different caches; all must hold the same model and the same data. "
            "Load both with one seed and in one order in every process."
        )
    if not ranks.broadcast_from_main(lambda: _complete(path, layout)):
        with _locked(path, ranks):
            if not ranks.broadcast_from_main(lambda: _complete(path, layout)):
                partial = path.with_name(f"{key}.partial")
                missing = ranks.broadcast_from_main(lambda: _prepare(partial, layout))
                _compute_missing(partial, layout, missing, compute, ranks, progress)
                ranks.broadcast_from_main(lambda: _finish(partial, path, layout, metadata))
    return ranks.on_all_ranks(lambda: Store(path))


def _checked_metadata(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    try:
        return json.loads(json.dumps(dict(metadata or {})))
    except (TypeError, ValueError) as error:
        raise SettingsError(f"metadata must be plain JSON values, but {error}. Give numbers and texts.") from error


def _complete(path: Path, layout: Layout) -> bool:
    """Whether the store is there; one that holds something else under this key is refused, not replaced."""
    store = find_store(path.parent, path.name)
    if store is None:
        return False
    if (store.columns, len(store)) != (layout.columns, layout.rows):
        raise DataError(
            f"{path} holds {store!r}, not the {layout.rows} rows of {[column.name for column in layout.columns]} asked "
            "for. The key must change with what is stored; give another key, or delete the folder."
        )
    return True


@contextmanager
def _locked(path: Path, ranks: Ranks) -> Iterator[None]:
    """The first process holds the lock of a cache; a run that finds it taken waits until the other has finished."""
    lock = FileLock(path.with_name(f"{path.name}.lock"))

    def take() -> bool:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=_LOCK_SECONDS)
        except Timeout:
            logger.warning("Another run is building %s; waiting until it has finished.", path)
            return False
        except OSError as error:
            raise _unwritable(path.parent, error) from error
        return True

    try:
        # the others hear from the first process again and again, so that they keep waiting
        while not ranks.broadcast_from_main(take):
            pass
        yield
    finally:
        lock.release()


def _prepare(partial: Path, layout: Layout) -> list[int]:
    """Shards still to be computed, after leftovers that cannot be used were removed."""
    text = json.dumps(layout.as_json())
    try:
        if partial.exists() and _text(partial / LAYOUT) != text:
            shutil.rmtree(partial)
        partial.mkdir(exist_ok=True)
        if _text(partial / LAYOUT) is None:
            _write_text(partial / LAYOUT, text)
        names = {layout.shard_name(shard): shard for shard in range(layout.shards)}
        for file in partial.iterdir():
            if file.name in names and not _readable(file, layout, names[file.name]):
                file.unlink()
        missing = [shard for name, shard in names.items() if not (partial / name).exists()]
        kept = {name for name, shard in names.items() if shard not in missing}
        for file in partial.iterdir():
            if file.name != LAYOUT and file.name.removesuffix(SUFFIX) not in kept:
                file.unlink()
    except OSError as error:
        raise _unwritable(partial, error) from error
    _check_space(partial, layout, missing)
    return missing


def _readable(file: Path, layout: Layout, shard: int) -> bool:
    start, stop = layout.span(shard)
    try:
        if noted_hash(file) != file_hash(file):
            return False
        read_shard(file, layout.columns, stop - start)
    except DataError:
        return False
    return True


def _check_space(partial: Path, layout: Layout, missing: Sequence[int]) -> None:
    row_bytes = [column.row_bytes for column in layout.columns if column.row_bytes is not None]
    if len(row_bytes) < len(layout.columns):
        return
    rows = sum(stop - start for start, stop in map(layout.span, missing))
    needed, free = rows * sum(row_bytes), shutil.disk_usage(partial).free
    if needed > free:
        raise FullDiskError(
            f"The cache needs {readable_bytes(needed)} more, but {partial.parent} has {readable_bytes(free)} free. "
            "Free some, name another cache_dir (or HF_TRANSFER_KIT_CACHE), or store a smaller dtype. Other caches are "
            "as they were."
        )


def _compute_missing(
    partial: Path, layout: Layout, missing: Sequence[int], compute: Compute, ranks: Ranks, progress: str | None
) -> None:
    """All processes compute a shard each, then tell one another how it went, until none is missing."""
    missing_rows = sum(stop - start for start, stop in map(layout.span, missing))
    shown = progress is not None and ranks.rank == 0
    with tqdm(
        desc=progress, total=layout.rows, initial=layout.rows - missing_rows, unit=" rows", disable=not shown
    ) as bar:
        for first in range(0, len(missing), ranks.world):
            round_ = missing[first : first + ranks.world]
            ranks.on_all_ranks(
                functools.partial(_compute_shards, partial, layout, round_[ranks.rank : ranks.rank + 1], compute)
            )
            bar.update(sum(stop - start for start, stop in map(layout.span, round_)))


def _compute_shards(partial: Path, layout: Layout, shards: Sequence[int], compute: Compute) -> None:
    for shard in shards:
        _compute_shard(partial, layout, shard, compute)


def _compute_shard(partial: Path, layout: Layout, shard: int, compute: Compute) -> None:
    start, stop = layout.span(shard)
    batch = shard_batch(layout.columns, compute(start, stop), stop - start)
    try:
        file = partial / layout.shard_name(shard)
        write_shard(file, batch)
        _write_text(file.with_name(file.name + SUFFIX), file_hash(file))
    except OSError as error:
        raise _unwritable(partial, error) from error


def _finish(partial: Path, path: Path, layout: Layout, metadata: Mapping[str, Any]) -> None:
    """The folder becomes the cache, in one step."""
    absent = [name for name in map(layout.shard_name, range(layout.shards)) if not (partial / name).exists()]
    if absent:
        raise DataError(
            f"{absent[0]} was written by another process but is not in {partial}. All processes must see one "
            "cache_dir; name one on a disk they share."
        )
    try:
        hashes = [noted_hash(partial / name) for name in map(layout.shard_name, range(layout.shards))]
        manifest = {**layout.as_json(), "metadata": metadata, "hashes": hashes}
        _write_text(partial / MANIFEST, json.dumps({**manifest, "hash": manifest_hash(manifest)}, indent=1))
        os.rename(partial, path)
        for file in (path / LAYOUT, *path.glob(f"*{SUFFIX}")):
            file.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8")
    except (FileNotFoundError, UnicodeDecodeError):
        return None


def _write_text(file: Path, text: str) -> None:
    unfinished = file.with_name(f"{file.name}.unfinished")
    with open(unfinished, "w", encoding="utf-8") as opened:
        opened.write(text)
        opened.flush()
        os.fsync(opened.fileno())
    os.replace(unfinished, file)


def _unwritable(path: Path, error: OSError) -> DataError:
    if is_full(error):
        return FullDiskError(
            f"No space is left to write {path}. Free some, name another cache_dir (or HF_TRANSFER_KIT_CACHE), or store "
            "a smaller dtype, and run again: what is finished stays and is not computed again."
        )
    return DataError(
        f"{path} cannot be written ({error.strerror or error}). Name a cache_dir (or HF_TRANSFER_KIT_CACHE) that can."
    )
