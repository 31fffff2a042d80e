"""A hash of every file of a cache, so that flipped bytes and exchanged files are found when it is opened."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import xxhash

from hf_transfer_kit.errors import DataError

SUFFIX = ".xxh3"
_PIECE = 16 * 2**20
_checked: dict[str, list[tuple[int, ...]]] = {}
"""Folder -> what its files looked like when this process found their hashes right."""


def file_hash(file: Path) -> str:
    """32 hexadecimal digits for the bytes of a file (xxh3, made to find accidents, not forgeries)."""
    digest = xxhash.xxh3_128()
    with open(file, "rb", buffering=0) as opened:
        while piece := opened.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def noted_hash(file: Path) -> str | None:
    """The hash that was written beside a finished file of a cache that is being built; None where there is none."""
    try:
        return file.with_name(file.name + SUFFIX).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def check_hashes(files: Sequence[Path], hashes: Sequence[str]) -> None:
    """Compares every file of a cache with its hash; a process does so once for files that stay as they are.

    Args:
        files: In one folder.
        hashes: Of each, from the manifest.

    Raises:
        DataError: With the first that is not what was written.
    """
    if not files:
        return
    folder = files[0].parent
    looks: list[tuple[int, ...]] = [(s.st_ino, s.st_size, s.st_mtime_ns) for s in (file.stat() for file in files)]
    if _checked.get(str(folder)) == looks:
        return
    for file, expected in zip(files, hashes, strict=True):
        if file_hash(file) != expected:
            raise DataError(
                f"{file} is damaged (it holds other bytes than were written). Delete the folder {folder} and run "
                "again: it is computed anew."
            )
    _checked[str(folder)] = looks
