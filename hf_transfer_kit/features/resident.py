"""How much of the memory-mapped files counts as this process's memory while it reads them again and again."""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Sequence

import numpy as np

RESIDENT_LIMIT = 64 * 2**20
# One byte read can map as much as the largest page the system keeps files in; it does not say how much it was.
_LARGEST_PAGE = 2 * 2**20


class ResidentPages:
    """Gives the pages of memory maps back when more than ``limit`` bytes of them may be resident.

    The pages stay in the system's file cache, so that reading them again costs no disk access; views stay valid. Only
    for maps that are never written to. Does nothing but on Linux.

    Args:
        files: The mapped arrays of each file.
        limit: In bytes. Files that are smaller together are left alone.
    """

    def __init__(self, files: Sequence[Sequence[np.ndarray]], *, limit: int = RESIDENT_LIMIT) -> None:
        self.files = files
        self.limit = limit
        large = sum(view.nbytes for views in files for view in views) > limit
        self._libc = ctypes.CDLL(None) if large and sys.platform == "linux" else None
        self._estimate = 0
        self._read: set[int] = set()

    def was_read(self, files: np.ndarray, nbytes: int) -> None:
        """To be told after every read: the file of each row, of shape (rows,), and the bytes of all of them."""
        if self._libc is None:
            return
        self._read.update(files.tolist())
        self._estimate += nbytes + len(files) * _LARGEST_PAGE
        if self._estimate > self.limit:
            for file in self._read:
                for view in self.files[file]:
                    self._give_back(view)
            self._estimate = 0
            self._read.clear()

    def _give_back(self, view: np.ndarray) -> None:
        start = view.ctypes.data - view.ctypes.data % mmap.PAGESIZE
        length = view.ctypes.data + view.nbytes - start
        self._libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), mmap.MADV_DONTNEED)
