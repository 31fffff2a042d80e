"""Rows copied out of files: from the memory map where that is small, with plain reads where it is large.

Every page read through a map counts as memory of the process, and one row can bring in 2 MiB; plain reads leave the
pages in the system's file cache alone.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from hf_transfer_kit.errors import DataError
from hf_transfer_kit.features.shards import Ragged, Shard

IN_PLACE_LIMIT = 64 * 2**20


def mapped_bytes(shards: Sequence[Shard], name: str) -> int:
    """Bytes of the values of a column in all files."""
    return sum(_values(shard.views[name]).nbytes for shard in shards)


def copied(shard: Shard, parts: Sequence[np.ndarray], into: Sequence[np.ndarray], *, in_place: bool) -> None:
    """Copies parts of a file's mapped arrays.

    Args:
        shard: The file.
        parts: Contiguous pieces of its mapped arrays.
        into: As many contiguous arrays of the same sizes.
        in_place: Whether to read through the map.

    Raises:
        DataError: When the file has become shorter or cannot be opened any more.
    """
    if in_place or not hasattr(os, "preadv"):
        for part, target in zip(parts, into, strict=True):
            target[...] = part
        return
    try:
        file = os.open(shard.path, os.O_RDONLY)
        try:
            read = [
                os.preadv(file, [target.reshape(-1).view(np.uint8).data], part.ctypes.data - shard.base)
                for part, target in zip(parts, into, strict=True)
                if part.nbytes
            ]
        finally:
            os.close(file)
    except OSError as error:
        raise DataError(
            f"{shard.path} cannot be read any more ({error.strerror}). Open the store again; it must not be deleted "
            "while it is in use."
        ) from error
    if sum(read) != sum(part.nbytes for part in parts):
        raise DataError(
            f"{shard.path} is damaged (it is shorter than when it was opened). Delete its folder, run again."
        )


def _values(view: np.ndarray | Ragged) -> np.ndarray:
    return view.values if isinstance(view, Ragged) else view
