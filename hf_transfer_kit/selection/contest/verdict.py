"""Did transfer help? Against from-scratch, and against other sources, on the test split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from hf_transfer_kit.selection.contest.bootstrap import paired_bootstrap
from hf_transfer_kit.values import StrategyResult, Verdict

BASELINE = "from_scratch"


def judge_transfer(
    results: Sequence[StrategyResult],
    correct: Mapping[str, np.ndarray],
    *,
    winner: str,
    transferring: Sequence[str],
    confidence: float = 0.95,
    metric: str = "accuracy",
) -> Verdict | None:
    """Judges transfer by the interval of the accuracy difference to ``from_scratch`` under the same budget.

    Where from-scratch itself won on validation, the best transferring strategy (on validation) is compared with it.

    Args:
        results: Results of the race.
        correct: Strategy text -> correctness of shape (runs, rows) on the test split.
        winner: The race's winner.
        transferring: Texts of the strategies that start from the pretrained weights.
        confidence: Level of the interval.
        metric: What the race chose by on validation.

    Returns:
        The verdict, or None when there is nothing to compare.
    """
    if BASELINE not in correct or not transferring:
        return None
    reached = {result.strategy: result.validation[metric] for result in results}
    best = winner if winner in transferring else max(transferring, key=reached.__getitem__)
    opening = {
        "helped": "Transfer helped.",
        "hurt": "Transfer hurt: this is negative transfer.",
        "undecided": "Whether transfer helped cannot be told: the interval holds zero.",
    }
    against = f"The strategy {best} against training the same network from scratch under the same budget"
    verdict = _verdict(correct[best], correct[BASELINE], winner, BASELINE, opening, against, confidence)
    if winner == best:
        return verdict
    ahead = f"On validation {winner} was ahead of every strategy that transfers."
    return replace(verdict, sentence=f"{verdict.sentence} {ahead}")


def judge_source(
    source: str, winner: str, correct: np.ndarray, other: str, strategy: str, others: np.ndarray, *,
    confidence: float = 0.95,
) -> Verdict:  # fmt: skip
    """Judges one source against another by the interval of the difference of their winners' accuracies.

    Args:
        source: Name of the first network.
        winner: Its winning strategy.
        correct: Whether each test row's class was predicted, of shape (runs, rows).
        other: Name of the other network.
        strategy: Its winning strategy.
        others: As ``correct``, of the same rows.
        confidence: Level of the interval.

    Returns:
        The verdict: ``"helped"`` where the first network is the better source.
    """
    opening = {
        "helped": f"{source} is a better source than {other}.",
        "hurt": f"{other} is a better source than {source}.",
        "undecided": f"Whether {source} or {other} is the better source cannot be told: the interval holds zero.",
    }
    against = f"{winner} from {source} against {strategy} from {other} under the same budget"
    return _verdict(correct, others, winner, other, opening, against, confidence)


def _verdict(
    correct: np.ndarray, baseline: np.ndarray, winner: str, name: str, opening: Mapping[str, str], against: str,
    confidence: float,
) -> Verdict:  # fmt: skip
    difference, low, high = paired_bootstrap(correct, baseline, confidence=confidence)
    outcome = "helped" if low > 0 else "hurt" if high < 0 else "undecided"
    interval = f"{confidence:.0%} interval {low * 100:+.1f} to {high * 100:+.1f}"
    sentences = [opening[outcome], f"{against}: {difference * 100:+.1f} points of test accuracy ({interval})."]
    if len(correct) == 1:
        sentences.append("One seed: the interval covers the test rows, not the spread between seeds.")
    return Verdict(winner, name, difference, low, high, confidence, outcome, " ".join(sentences))
