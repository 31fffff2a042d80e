"""Successive halving over candidates of unequal cost: pure functions on numbers, nothing here trains.

Jamieson & Talwalkar 2016: every candidate gets a small budget, the better ones a larger one, and so on.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hf_transfer_kit.errors import SettingsError

# Fewer steps than this would order candidates by chance.
LEAST_STEPS = 10


@dataclass(frozen=True)
class Rung:
    """One round of the halving.

    Args:
        steps: Optimizer steps of each run.
        seeds: One run each.
        most: Candidates at most.
    """

    steps: int
    seeds: tuple[int, ...]
    most: int


@dataclass(frozen=True)
class Score:
    """What a candidate reached.

    Args:
        accuracy: Mean over its runs, in [0, 1].
        error: Standard error of that mean, at least 0.
        loss: Mean over its runs; decides between equal accuracies.
        correct: Share of its runs that got each row right, of shape (rows,); None where rows are not known.
    """

    accuracy: float
    error: float
    loss: float
    correct: np.ndarray | None = None


def plan_rungs(
    candidates: int,
    max_steps: int,
    seeds: Sequence[int],
    *,
    reduction_factor: int = 3,
    powers: Sequence[int] | None = None,
) -> tuple[Rung, ...]:
    """Rungs from short runs of all candidates to full runs of two with all seeds.

    With eta the ``reduction_factor``, a short rung of power p trains for ``max_steps / eta^p``, at least
    ``LEAST_STEPS``, with the first seed; then come full runs with the first seed, then with all. One in eta goes on
    from each, two at least.

    Short runs favour what learns fast, and more of them would not make up for it; so by default there are few,
    ``max(1, round(log_eta(candidates)) - 1)`` with powers down to 1, and most of what may be spent goes into full runs.
    With one seed only, and so less to spend, short runs are shorter by another eta.

    Args:
        candidates: Number of candidates, at least 1.
        max_steps: Steps of a full run.
        seeds: At least one.
        reduction_factor: Factor between the budgets of neighbouring rungs, at least 2.
        powers: Of the short rungs, falling, such as ``halving_powers``; None for the few of the default.

    Raises:
        SettingsError: When ``reduction_factor`` is below 2 or there are no seeds.
    """
    if reduction_factor < 2 or not seeds:
        raise SettingsError(
            f"reduction_factor={reduction_factor} must be a whole number from 2, and seeds={list(seeds)} must hold at "
            "least one."
        )
    if powers is None:
        short = max(1, round(math.log(candidates, reduction_factor)) - 1) if candidates > 2 else 0
        powers = [back + (len(seeds) == 1) for back in range(short, 0, -1)]
    budgets = dict.fromkeys(max(max_steps // reduction_factor**power, LEAST_STEPS) for power in powers)
    plans = [(steps, seeds[:1]) for steps in budgets if steps < max_steps]
    plans += [(max_steps, seeds[:1])] if len(seeds) > 1 and candidates > 2 else []
    plans.append((max_steps, seeds))
    return tuple(
        Rung(steps, tuple(own), candidates if index == 0 else max(2, math.ceil(candidates / reduction_factor**index)))
        for index, (steps, own) in enumerate(plans)
    )


def halving_powers(candidates: int, max_steps: int, reduction_factor: int) -> list[int]:
    """Powers of as many short rungs as bring the candidates down to two; without those below ``LEAST_STEPS``."""
    rounds, left = 0, candidates
    while left > 2:
        left = max(2, math.ceil(left / reduction_factor))
        rounds += 1
    return [power for power in range(rounds, 0, -1) if max_steps // reduction_factor**power >= LEAST_STEPS]


def standard_error(accuracies: Sequence[float], rows: int) -> float:
    """Standard error of a mean accuracy: from its spread over seeds; of one or two runs, of a share of ``rows`` rows.

    Two runs say too little of how far runs spread.
    """
    if len(accuracies) > 2:
        return float(np.std(accuracies, ddof=1) / math.sqrt(len(accuracies)))
    share = float(np.mean(accuracies))
    return math.sqrt(share * (1 - share) / rows)


def error_of_difference(best: Score, other: Score) -> float:
    """Standard error of the difference of two accuracies.

    Both were measured on the same rows, so it is that of the paired differences: rows that are hard for all do not
    count. Where rows are not known it is the error of the best.
    """
    if best.correct is None or other.correct is None:
        return best.error
    return float(np.std(best.correct - other.correct, ddof=1) / math.sqrt(len(best.correct)))


def best_of(scores: Mapping[int, Score], price: Mapping[int, float]) -> int:
    """The candidate with the highest accuracy; of equal ones that with the lower loss, then the cheaper one."""
    return max(scores, key=lambda c: (scores[c].accuracy, -scores[c].loss, -price[c]))


def cheapest_within_one_error(scores: Mapping[int, Score], price: Mapping[int, float]) -> int:
    """The cheapest candidate whose accuracy is within one standard error (of the difference) of the best accuracy.

    The rule of Breiman et al. 1984, section 3.4.3, with the error of the paired difference.

    Args:
        scores: Candidate -> what it reached, at least one.
        price: Candidate -> what is to be small.
    """
    best = scores[best_of(scores, price)]
    # Accuracies are shares of rows: a difference that is exactly one error must not hang on the last bit.
    near = [
        c for c, score in scores.items() if score.accuracy >= best.accuracy - error_of_difference(best, score) - 1e-9
    ]
    return min(near, key=lambda c: (price[c], c))


def preference(scores: Mapping[int, Score], price: Mapping[int, float]) -> tuple[int, ...]:
    """All candidates in the order in which they may go on.

    First the one that would be chosen now: the halving stays true to the rule at its end. Then the best of the other
    half by price: short runs are unjust to the dear ones, which have more to learn. Then the others, best first.
    """
    chosen = cheapest_within_one_error(scores, price)
    rest = sorted(scores.keys() - {chosen}, key=lambda c: (-scores[c].accuracy, scores[c].loss, price[c]))
    middle = statistics.median(price[c] for c in scores)
    others = [c for c in rest if (price[c] > middle) != (price[chosen] > middle)][:1]
    return (chosen, *others, *(c for c in rest if c not in others))


def affordable(order: Iterable[int], cost: Mapping[int, float], *, limit: float, most: int) -> tuple[int, ...]:
    """The first candidates of ``order`` that fit into ``limit`` together, at most ``most``; the first one always.

    One that is too expensive is passed over, so that a cheaper one after it may still go on.
    """
    taken: list[int] = []
    spent = 0.0
    for candidate in order:
        if len(taken) < most and (not taken or spent + cost[candidate] <= limit):
            taken.append(candidate)
            spent += cost[candidate]
    return tuple(sorted(taken))
