"""Where the validation loss of a run is low and flat: which of its weights SWAD averages."""

from __future__ import annotations

from collections.abc import Sequence


def flat_region(
    losses: Sequence[float], *, start_patience: int = 3, end_patience: int = 6, tolerance: float = 0.3
) -> tuple[int | None, int | None]:
    """First evaluation of the flat region, and the first one after it (Cha et al. 2021, algorithm 1).

    It begins at the first loss that none of the ``start_patience - 1`` after it undercuts. It ends where
    ``end_patience`` losses one after the other are all above (1 + tolerance) times the mean of its first
    ``start_patience``.

    Args:
        losses: Validation losses so far, in order.
        start_patience: N_s, at least 1.
        end_patience: N_e, at least 1.
        tolerance: r - 1, at least 0.

    Returns:
        Two indices into ``losses``; None for what has not been seen yet.

    Example:
        >>> flat_region([1.0, 0.6, 0.4, 0.41, 0.42, 0.7, 0.8], start_patience=3, end_patience=2)
        (2, 5)
    """
    starts = range(len(losses) - start_patience + 1)
    start = next((i for i in starts if losses[i] <= min(losses[i : i + start_patience])), None)
    if start is None:
        return None, None
    limit = (1 + tolerance) * sum(losses[start : start + start_patience]) / start_patience
    ends = range(start + 1, len(losses) - end_patience + 1)
    return start, next((i for i in ends if min(losses[i : i + end_patience]) > limit), None)
