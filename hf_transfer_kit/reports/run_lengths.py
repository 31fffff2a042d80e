"""How long runs went on, in words: flattened, or cut while they were still rising."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hf_transfer_kit.metrics import larger_is_better
from hf_transfer_kit.selection import Budget
from hf_transfer_kit.selection.contest.flattening import OF_ACCURACY, flattened
from hf_transfer_kit.values import StrategyResult


def length_sentence(name: str, steps: Sequence[int], ended: Sequence[str], budget: Budget) -> str:
    """When the runs of a candidate ended and why, and what to type where more may be had.

    Args:
        name: Of the candidate.
        steps: Of each run.
        ended: Why each ended: ``"flat"``, ``"steps"`` or ``"minutes"``.
        budget: What each might spend.

    Returns:
        Empty where every run did the steps that were asked for.

    Example:
        >>> from hf_transfer_kit.selection import Budget
        >>> open_end = Budget(12_000, 32, patience=3, max_minutes=3)
        >>> length_sentence("dann", [900], ["flat"], open_end)
        'dann ended after 900 of at most 12,000 steps: its score had flattened.'
        >>> length_sentence("dann", [4096], ["minutes"], open_end)
        'dann was still rising when it was cut after 4,096 steps, its 3 minutes over: try --max_minutes 6.'
    """
    cut = {why for why in ended if why == "minutes" or (why == "steps" and budget.patience is not None)}
    if "flat" in ended and not cut:
        most = f"of at most {budget.max_steps:,} " if max(steps) <= budget.max_steps else ""  # several tasks have more
        return f"{name} ended after {_steps(steps)} {most}steps: its score had flattened."
    if not cut:
        return ""
    ways = []
    if "minutes" in cut:
        ways.append((f"its {budget.max_minutes:g} minutes over", f"--max_minutes {2 * (budget.max_minutes or 0):g}"))
    if "steps" in cut:
        ways.append(("the most allowed", f"--max_steps {2 * budget.max_steps} --patience {budget.patience}"))
    reasons, flags = (" and ".join(parts) for parts in zip(*ways, strict=True))
    was = "still rising when it was cut" if budget.patience is not None else "cut"
    return f"{name} was {was} after {_steps(steps)} steps, {reasons}: try {flags}."


def race_lengths(
    results: Mapping[str, StrategyResult], budget: Budget, *, chosen_by_user: bool, validation_rows: int
) -> list[str]:
    """How long the runs of a race went on, and whose length may have been too short.

    Args:
        results: Name -> of each contender.
        budget: What each might spend.
        chosen_by_user: Whether the user said how many steps.
        validation_rows: Rows that looks read; two of them more are no rise.

    Example:
        >>> from hf_transfer_kit.selection import Budget
        >>> from hf_transfer_kit.values import StrategyResult
        >>> full = StrategyResult("full", "All.", (0,), {}, {}, steps=(90,), ended=("flat",))
        >>> race_lengths({"full": full}, Budget(400, 32, patience=3), chosen_by_user=True, validation_rows=100)
        ['full ended after 90 of at most 400 steps: its score had flattened.']
    """
    told = [length_sentence(name, result.steps, result.ended, budget) for name, result in results.items()]
    if not chosen_by_user:
        scores, least = {}, 0.0
        for name, result in results.items():
            upward = larger_is_better(result.metric)
            least = max(OF_ACCURACY, 2 / validation_rows) if upward else 0.0
            sign = 1 if upward else -1
            scores[name] = [sign * point.accuracy for point in result.curve if point.accuracy is not None]
        told.append(rising_sentence(scores, budget, least=least))
    return list(filter(None, told))


def budget_sentence(budget: Budget) -> str:
    """How long each run is, before it begins.

    Example:
        >>> from hf_transfer_kit.selection import Budget
        >>> budget_sentence(Budget(300, 32)), budget_sentence(Budget(12_000, 32, patience=3, max_minutes=3))
        ('300 steps a run', 'a run ends when its score has flattened, after at most 12,000 steps and 3 minutes')
    """
    if not budget.is_open:
        return f"{budget.max_steps} steps a run"
    limits = f"{budget.max_steps:,} steps"
    if budget.max_minutes is not None:
        limits += f" and {budget.max_minutes:g} minutes"
    until = "when its score has flattened, after" if budget.patience is not None else "after"
    return f"a run ends {until} at most {limits}"


def rising_sentence(scores: Mapping[str, Sequence[float]], budget: Budget, *, least: float = 0.0) -> str:
    """Who was still rising at the last look, of runs whose length nobody chose.

    Args:
        scores: Name of each contender -> what it reached at each look, higher is better.
        budget: What each might spend, all steps of it done.
        least: Gain of the score below which it is none, as in ``UntilFlat``.

    Returns:
        Empty where none was, or where a budget ends runs by their score.

    Example:
        >>> from hf_transfer_kit.selection import Budget
        >>> rising_sentence({"full": [0.2, 0.5, 0.7], "head_only": [0.6, 0.7, 0.7]}, Budget(50, 32))
        'full was still rising after the 50 steps of a run: more may change the figures (--max_steps 200 --patience 3).'
    """
    rising = [name for name, looks in scores.items() if len(looks) > 1 and not flattened(looks, 1, least=least)]
    if budget.is_open or not rising:
        return ""
    flags = f"--max_steps {4 * budget.max_steps} --patience 3"
    were = "was" if len(rising) == 1 else "were"
    return (
        f"{', '.join(rising)} {were} still rising after the {budget.max_steps:,} steps of a run: more may change the "
        f"figures ({flags})."
    )


def _steps(steps: Sequence[int]) -> str:
    few, many = min(steps), max(steps)
    return f"{few:,}" if few == many else f"{few:,} to {many:,}"
