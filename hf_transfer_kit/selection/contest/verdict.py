"""Did it help? A candidate against a baseline on the test rows of both; here nothing is chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from hf_transfer_kit.metrics import RowMetric, larger_is_better
from hf_transfer_kit.metrics.words import FRACTIONS, metric_words, signed
from hf_transfer_kit.selection.contest.bootstrap import Pair, Runs, pooled_bootstrap
from hf_transfer_kit.values import StrategyResult, Verdict

BASELINE = "from_scratch"


class Question(NamedTuple):
    """What a verdict answers, in words.

    Args:
        helped: Opening where the candidate is better.
        hurt: Where it is worse.
        undecided: Where the interval holds zero.
        against: Who stands against whom, and how.
    """

    helped: str
    hurt: str
    undecided: str
    against: str


def judge(
    candidate: str,
    baseline: str,
    pairs: Sequence[Pair],
    question: Question,
    *,
    metric: str = "accuracy",
    draw_pairs: bool = False,
    confidence: float = 0.95,
) -> Verdict:
    """Judges a candidate by the interval of its metric's difference to a baseline's on the same test rows.

    Args:
        candidate: Its name.
        baseline: Name of the other side.
        pairs: Their runs, one entry for each set of test rows; see ``pooled_bootstrap``.
        question: Words.
        metric: What the runs' metric is called.
        draw_pairs: Whether the pairs are drawn too; then they, not seeds, are what ``winner_runs`` lists.
        confidence: Level of the interval.

    Raises:
        SettingsError: When the rows of both sides differ, or there are none.
    """
    difference, low, high = pooled_bootstrap(pairs, draw_pairs=draw_pairs, confidence=confidence)
    better = larger_is_better(metric)
    outcome = "undecided"
    if low > 0 or high < 0:
        outcome = "helped" if (low > 0) == better else "hurt"
    winner_runs, baseline_runs = (_by_run([pair[side] for pair in pairs], draw_pairs) for side in (0, 1))
    unit = "points of test" if metric in FRACTIONS else "in test"
    less = "" if better else "; less is better"
    sentences = [
        getattr(question, outcome),
        f"{question.against}: {signed(metric, difference)} {unit} {metric_words(metric)} ({confidence:.0%} interval "
        f"{signed(metric, low)} to {signed(metric, high)}{less}).",
    ]
    if len(winner_runs) == 1:
        one, spread = ("split", "splits") if draw_pairs else ("seed", "seeds")
        sentences.append(f"One {one}: the interval covers the test rows, not the spread between {spread}.")
    return Verdict(
        candidate,
        baseline,
        difference,
        low,
        high,
        confidence,
        outcome,
        " ".join(sentences),
        metric,
        better,
        winner_runs,
        baseline_runs,
    )


def _by_run(sides: Sequence[Runs], each_pair: bool) -> tuple[float, ...]:
    """The metric of each run, mean over the pairs; or of each pair, mean over the runs."""
    values = [
        np.atleast_2d(side).mean(axis=1) if isinstance(side, np.ndarray) else [run.observed for run in side]
        for side in sides
    ]
    return tuple(float(np.mean(each)) for each in (values if each_pair else zip(*values, strict=True)))


def judge_transfer(
    results: Sequence[StrategyResult],
    tested: Mapping[str, Sequence[RowMetric]],
    *,
    winner: str,
    transferring: Sequence[str],
    confidence: float = 0.95,
    metric: str = "accuracy",
) -> Verdict | None:
    """Judges transfer by the interval of the metric's difference to ``from_scratch`` under the same budget.

    Where from-scratch itself won on validation, the best transferring strategy (on validation) is compared with it.

    Args:
        results: Results of the race.
        tested: Strategy text -> the metric of each run on the test split.
        winner: The race's winner.
        transferring: Texts of the strategies that start from the pretrained weights.
        confidence: Level of the interval.
        metric: What the race chose by on validation, and what is judged.

    Returns:
        The verdict, or None when there is nothing to compare.
    """
    if BASELINE not in tested or not transferring:
        return None
    sign = 1 if larger_is_better(metric) else -1
    reached = {result.strategy: sign * result.validation[metric] for result in results}
    best = winner if winner in transferring else max(transferring, key=reached.__getitem__)
    question = Question(
        helped="Transfer helped.",
        hurt="Transfer hurt: this is negative transfer.",
        undecided="Whether transfer helped cannot be told: the interval holds zero.",
        against=f"The strategy {best} against training the same network from scratch under the same budget",
    )
    pair = Pair(tested[best], tested[BASELINE])
    verdict = replace(judge(best, BASELINE, [pair], question, metric=metric, confidence=confidence), winner=winner)
    if winner == best:
        return verdict
    ahead = f"On validation {winner} was ahead of every strategy that transfers."
    return replace(verdict, sentence=f"{verdict.sentence} {ahead}")


def judge_source(
    source: str, winner: str, tested: Sequence[RowMetric], other: str, strategy: str, others: Sequence[RowMetric], *,
    confidence: float = 0.95, metric: str = "accuracy",
) -> Verdict:  # fmt: skip
    """Judges one source against another by the interval of the difference of their winners' metrics.

    Args:
        source: Name of the first network.
        winner: Its winning strategy.
        tested: The metric of each of its runs on the test split.
        other: Name of the other network.
        strategy: Its winning strategy.
        others: As ``tested``, of the same rows.
        confidence: Level of the interval.
        metric: What is judged.

    Returns:
        The verdict: ``"helped"`` where the first network is the better source.
    """
    question = Question(
        helped=f"{source} is a better source than {other}.",
        hurt=f"{other} is a better source than {source}.",
        undecided=f"Whether {source} or {other} is the better source cannot be told: the interval holds zero.",
        against=f"{winner} from {source} against {strategy} from {other} under the same budget",
    )
    return judge(winner, other, [Pair(tested, others)], question, metric=metric, confidence=confidence)
