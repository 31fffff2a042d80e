"""Sums over rows from which closed forms are solved: means, products of features, sums of classes, triangular roots."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import numpy as np

from hf_transfer_kit.features.row_blocks import row_blocks, rows_at_once

_NUMBER = 8
"""Bytes of a float64."""


def block_size(rows: np.ndarray, what: str, *, copies: float = 2, matrices: float = 4, classes: int = 0) -> int:
    """Rows of a block, for sums of the products of features.

    Args:
        rows: (N, D).
        what: Needs them, for the sentence of a limit.
        copies: Of a block that are held at once.
        matrices: Of min(N, D) by D that are held all the time.
        classes: For which a number a row, and a sum, is held.
    """
    count, width = rows.shape
    beside = _NUMBER * (matrices * min(count, width) * width + 2 * classes * width)
    return rows_at_once(_NUMBER * (copies * width + 2 * classes), beside=beside, what=what)


def means_and_spreads(
    rows: np.ndarray, size: int, *, chosen: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each feature, both (D,), from one pass.

    The variances of blocks are joined (Chan, Golub and LeVeque 1983), so that a large mean costs no digits.

    Args:
        rows: (N, D).
        size: Rows of a block.
        chosen: Which rows; None for all.
    """
    mean, squares, seen = np.zeros(rows.shape[1]), np.zeros(rows.shape[1]), 0
    for _, block in row_blocks(rows, size, chosen=chosen):
        own = block.mean(0)
        block -= own
        apart, both = own - mean, seen + len(block)
        squares += np.einsum("nd,nd->d", block, block) + apart**2 * (seen * len(block) / both)
        mean += apart * (len(block) / both)
        seen = both
    return mean, np.sqrt(squares / max(seen, 1))


def scales(mean: np.ndarray, spread: np.ndarray, count: int) -> np.ndarray:
    """What standardising divides by, (D,): the spread, and 1 where rounding alone made it (Chan et al., as above).

    Args:
        mean: (D,).
        spread: Standard deviations, (D,).
        count: Rows that both are of.
    """
    rounding = count * np.finfo(np.float64).eps
    return np.where(spread**2 <= rounding * spread**2 + (rounding * mean) ** 2, 1.0, spread)


def products(blocks: Iterator[tuple[slice, np.ndarray]], width: int) -> np.ndarray:
    """X^T X of the blocks' rows X, (D, D)."""
    total = np.zeros((width, width))
    for _, block in blocks:
        total += block.T @ block
    return total


def products_and_class_sums(
    blocks: Iterator[tuple[slice, np.ndarray]], places: np.ndarray, classes: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """X^T X of the blocks' rows X, (D, D), and the sum of the rows of each class, (C, D).

    Args:
        blocks: Of (N, D).
        places: Class of each row, in [0, C), (N,).
        classes: C.
        width: D.
    """
    total, sums = np.zeros((width, width)), np.zeros((classes, width))
    for place, block in blocks:
        total += block.T @ block
        sums += (places[place] == np.arange(classes)[:, None]).astype(np.float64) @ block
    return total, sums


def triangular_root(blocks: Iterator[tuple[slice, np.ndarray]], width: int) -> np.ndarray:
    """R of X = Q R, (at most D, D), of the blocks' rows X: R^T R = X^T X with all digits of X."""
    root = np.zeros((0, width))
    for _, block in blocks:
        root = cast(np.ndarray, np.linalg.qr(np.concatenate([root, block]), mode="r"))
    return root
