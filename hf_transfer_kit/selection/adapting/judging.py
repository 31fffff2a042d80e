"""Whether adapting helped: every method against what does not adapt, on the target's test rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from hf_transfer_kit.selection.contest.bootstrap import Pair
from hf_transfer_kit.selection.contest.verdict import Question, judge
from hf_transfer_kit.values import AdaptationResult, Verdict

Correct = Mapping[str, np.ndarray]
"""Method -> whether each test row's class was predicted, of shape (runs, rows); without rows where none has a label."""


def with_verdicts(results: Sequence[AdaptationResult], correct: Correct, baseline: str) -> list[AdaptationResult]:
    """The results with a verdict each, where it and the baseline have predictions for labelled test rows.

    Nothing is judged of what learned from labels of the target: it is a bound, no contender.

    Args:
        results: One entry a method.
        correct: Of these methods.
        baseline: Text of the one that does not adapt.
    """
    against = correct.get(baseline, np.empty((0, 0)))
    found = []
    for result in results:
        own = correct.get(result.method, np.empty((0, 0)))
        same = result.method.partition(":")[0] == baseline.partition(":")[0]  # the baseline, or it with other options
        judged = not same and not result.uses_target_labels and own.size and against.size
        found.append(replace(result, verdict=_verdict(result.method, baseline, own, against)) if judged else result)
    return found


def _verdict(method: str, baseline: str, own: np.ndarray, against: np.ndarray) -> Verdict:
    question = Question(
        helped=f"Adapting with {method} helped.",
        hurt=f"Adapting with {method} hurt: this is negative transfer.",
        undecided=f"Whether adapting with {method} helped cannot be told: the interval holds zero.",
        against=f"{method} against {baseline} on the target's test rows",
    )
    return judge(method, baseline, [Pair(own, against)], question)
