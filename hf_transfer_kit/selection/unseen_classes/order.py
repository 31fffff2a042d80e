"""Methods in the order in which seen classes that played unseen ones speak for them."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import fmean, stdev

from hf_transfer_kit.values import ZeroShotResult


def in_order(results: Sequence[ZeroShotResult]) -> list[ZeroShotResult]:
    """All results, the one to be chosen first; figures of test rows are not read.

    The next is always chosen among those whose pseudo harmonic mean is not below that of the best by more than one
    standard error over splits (Breiman et al. 1984, the 1 SE rule): of these the one that names the classes that played
    unseen ones best among themselves. A handful of classes hardly tells harmonic means apart, of which each was reached
    with a calibration of its own, chosen on the same rows.
    """
    left, found = list(results), []
    while left:
        best = max(left, key=lambda result: result.mean("pseudo_harmonic"))
        level = [result for result in left if _is_level(result, best)]
        found.append(max(level, key=lambda result: (result.mean("pseudo_unseen"), result.mean("pseudo_harmonic"))))
        left.remove(found[-1])
    return found


def _is_level(result: ZeroShotResult, best: ZeroShotResult) -> bool:
    gaps = [own.pseudo_harmonic - other.pseudo_harmonic for own, other in zip(best.splits, result.splits, strict=True)]
    error = stdev(gaps) / sqrt(len(gaps)) if len(gaps) > 1 else 0.0
    return fmean(gaps) <= error
