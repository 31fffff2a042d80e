"""What caches there are, how much they take, when they were last used; and which go."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.features.building import LAYOUT
from hf_transfer_kit.features.store import MANIFEST, default_cache_dir

DAY = 24 * 3600.0


@dataclass(frozen=True)
class CacheFolder:
    """One cache on disk.

    Args:
        path: Its folder.
        nbytes: Of its files.
        days: Since it was last opened, or, of one that is not finished, last written to.
        finished: False for what a stopped run left, which the same run would go on with.
        words: What it says of itself.
    """

    path: Path
    nbytes: int
    days: float
    finished: bool
    words: str


def list_caches(cache_dir: str | Path | None = None) -> list[CacheFolder]:
    """The caches in a folder, those that were not used for longest first.

    Args:
        cache_dir: Default: ``default_cache_dir()``. Folders in it that no cache wrote are left out.
    """
    folder = default_cache_dir() if cache_dir is None else Path(cache_dir)
    found = [_described(path) for path in sorted(folder.glob("*")) if path.is_dir() and not path.is_symlink()]
    return sorted((cache for cache in found if cache is not None), key=lambda cache: -cache.days)


def clean_caches(cache_dir: str | Path | None = None, *, older_than: float) -> list[CacheFolder]:
    """Removes caches that were not used for some days; one that is being built stays.

    Args:
        cache_dir: Default: ``default_cache_dir()``.
        older_than: Days, 0 or more; 0 removes all.

    Returns:
        Those that were removed. A run that reads one of them ends with a sentence and computes it anew next time.

    Raises:
        SettingsError: When ``older_than`` is no number of days.
    """
    if not 0 <= older_than < float("inf"):
        raise SettingsError(f"older_than={older_than}: give a number of days, 0 or more.")
    removed = []
    for cache in list_caches(cache_dir):
        if cache.days < older_than:
            continue
        name = cache.path.name.removesuffix(".partial")
        try:
            with FileLock(cache.path.with_name(f"{name}.lock"), timeout=0):
                if cache.finished:
                    # Half-removed it is one that is not finished, without a layout: the next run begins anew.
                    doomed = cache.path.with_name(f"{name}.partial")
                    shutil.rmtree(doomed, ignore_errors=True)
                    cache.path.rename(doomed)
                else:
                    doomed = cache.path
                    (doomed / LAYOUT).unlink(missing_ok=True)
                shutil.rmtree(doomed)
        except Timeout:
            continue
        removed.append(cache)
    return removed


def _described(path: Path) -> CacheFolder | None:
    finished = not path.name.endswith(".partial")
    told = path / (MANIFEST if finished else LAYOUT)
    try:
        values = json.loads(told.read_text(encoding="utf-8"))
        columns = ", ".join(str(column["name"]) for column in values["columns"])
        words = f"{int(values['rows']):,} rows of {columns}"
        files = [file.stat() for file in path.iterdir() if file.is_file()]
        used = told.stat().st_mtime if finished else max(stat.st_mtime for stat in files)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    nbytes = sum(stat.st_size for stat in files)
    return CacheFolder(path, nbytes, max(0.0, (time.time() - used) / DAY), finished, words)
