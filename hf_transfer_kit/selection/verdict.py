"""Did transfer help? The best transferring strategy against from-scratch, on the test split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hf_transfer_kit.selection.bootstrap import paired_bootstrap
from hf_transfer_kit.values import StrategyResult, Verdict

BASELINE = "from_scratch"


def judge_transfer(
    results: Sequence[StrategyResult],
    correct: Mapping[str, np.ndarray],
    *,
    winner: str,
    transferring: Sequence[str],
    confidence: float = 0.95,
) -> Verdict | None:
    """Judges transfer by the interval of the accuracy difference to ``from_scratch`` under the same budget.

    Where from-scratch itself won on validation, the best transferring strategy (on validation) is compared with it.

    Args:
        results: Results of the race.
        correct: Strategy text -> correctness of shape (runs, rows) on the test split.
        winner: The race's winner.
        transferring: Texts of the strategies that start from the pretrained weights.
        confidence: Level of the interval.

    Returns:
        The verdict, or None when there is nothing to compare.
    """
    if BASELINE not in correct or not transferring:
        return None
    accuracy = {result.strategy: result.validation["accuracy"] for result in results}
    best = winner if winner in transferring else max(transferring, key=accuracy.__getitem__)
    difference, low, high = paired_bootstrap(correct[best], correct[BASELINE], confidence=confidence)
    outcome = "helped" if low > 0 else "hurt" if high < 0 else "undecided"
    return Verdict(
        winner=winner,
        baseline=BASELINE,
        difference=difference,
        low=low,
        high=high,
        confidence=confidence,
        outcome=outcome,
        sentence=_sentence(outcome, best, winner, difference, low, high, confidence, len(correct[best])),
    )


def _sentence(
    outcome: str, best: str, winner: str, difference: float, low: float, high: float, confidence: float, runs: int
) -> str:
    interval = f"{confidence:.0%} interval {low * 100:+.1f} to {high * 100:+.1f}"
    points = f"{difference * 100:+.1f} points of test accuracy ({interval})"
    against = f"{best} against training the same network from scratch under the same budget: {points}."
    opening = {
        "helped": "Transfer helped.",
        "hurt": "Transfer hurt: this is negative transfer.",
        "undecided": "Whether transfer helped cannot be told: the interval holds zero.",
    }[outcome]
    sentences = [opening, f"The strategy {against}"]
    if winner != best:
        sentences.append(f"On validation {winner} was ahead of every strategy that transfers.")
    if runs == 1:
        sentences.append("One seed: the interval covers the test rows, not the spread between seeds.")
    return " ".join(sentences)
