"""Rows dealt out in blocks, so that what is computed from them needs no copy of them all, and how much may be held."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

import numpy as np

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.features.cache_budget import bytes_of, readable_bytes

BLOCK = 2**25
"""Bytes that a block and what is made of it may take where no limit is set; larger ones are no faster."""
_limit: ContextVar[tuple[int, float] | None] = ContextVar("memory_limit", default=None)  # bytes, and those held already


def memory_limit(limit: int | float | str) -> AbstractContextManager[None]:
    """How much scores, distances, probes and fits may hold in memory, beside the rows they are given, at most.

    Without it they deal rows out in blocks of 32 MiB, and hold what else they need: matrices of features by features,
    and copies of rows where a solver of another library asks for one. With it blocks are as small as the limit says,
    and what cannot be done within it is refused before it begins. Counted are arrays, not what libraries take for
    themselves, and not the arrays that are returned. The limit holds in the thread it is set in.

    Args:
        limit: Bytes, or a text such as ``"500 MiB"`` or ``"2GB"``.

    Raises:
        SettingsError: When it is no size; inside, before a function holds more.

    Example:
        >>> with memory_limit("100 MiB"):
        ...     found = domain_distance(features, target_features, max_rows=8000, permutations=19)
        >>> found.rows
        (60, 60)
    """
    return _within((bytes_of(limit, option="memory_limit"), 0))


def holding(needed: float, what: str) -> AbstractContextManager[None]:
    """What is done inside has so much less.

    Args:
        needed: Bytes that are held.
        what: Needs them, for the sentence: a noun.

    Raises:
        SettingsError: When they are more than the limit leaves.
    """
    check_held(needed, what)
    found = _limit.get()
    return _within(found and (found[0], found[1] + needed))


@contextmanager
def _within(limit: tuple[int, float] | None) -> Iterator[None]:
    token = _limit.set(limit)
    try:
        yield
    finally:
        _limit.reset(token)


def check_held(needed: float, what: str) -> None:
    """Refuses what needs more than the limit.

    Args:
        needed: Bytes.
        what: Needs them, for the sentence: a noun.

    Raises:
        SettingsError: When they are more than allowed.
    """
    found = _limit.get()
    if found is None or needed <= found[0] - found[1]:
        return
    allowed, held = found
    beside = f" beside {readable_bytes(held)} that are held already" if held else ""
    raise SettingsError(
        f"memory_limit={readable_bytes(allowed)} is too little: {what} holds {readable_bytes(needed)}{beside}. Raise "
        "the limit, or give fewer rows or features."
    )


def rows_at_once(each: float, *, beside: float = 0, what: str, few: int = 16) -> int:
    """How many rows make a block.

    Args:
        each: Bytes that a row takes, with all that is made of it.
        beside: Bytes that are held all the time.
        what: Needs them, for the sentence: a noun.
        few: Rows of the smallest block that a limit may lead to.

    Returns:
        1 or more.

    Raises:
        SettingsError: When the limit leaves no room for a block.
    """
    check_held(beside + few * each, what)
    found = _limit.get()
    room = BLOCK if found is None else min(BLOCK, found[0] - found[1] - beside)
    return max(1, int(room / max(each, 1)))


def slices(count: int, size: int) -> Iterator[slice]:
    """``count`` places, ``size`` at a time."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def row_blocks(
    rows: np.ndarray,
    size: int,
    *,
    chosen: np.ndarray | None = None,
    shift: np.ndarray | float | None = None,
    scale: np.ndarray | float | None = None,
) -> Iterator[tuple[slice, np.ndarray]]:
    """(rows - shift) / scale in float64, block by block.

    Args:
        rows: (N, D), of any type of numbers.
        size: Rows of a block.
        chosen: Which rows, in this order, (M,); None for all.
        shift: Of each feature, (D,), or one number.
        scale: Likewise, none 0.

    Yields:
        Which of the N (or M) rows, and an array (n, D) of its own.
    """
    count = len(rows) if chosen is None else len(chosen)
    for place in slices(count, size):
        block = np.array(rows[place] if chosen is None else rows[chosen[place]], dtype=np.float64, order="C")
        if shift is not None:
            block -= shift
        if scale is not None:
            block /= scale
        yield place, block


def all_finite(rows: np.ndarray) -> bool:
    """Whether every number of (N, ...) is finite, looked at in blocks."""
    size = rows_at_once(rows[:1].size, what="looking for numbers that are not finite")
    return all(bool(np.isfinite(rows[place]).all()) for place in slices(len(rows), size))
