"""How long runs went on, in words: flattened, or cut while they were still rising."""

from __future__ import annotations

from collections.abc import Sequence

from hf_transfer_kit.selection import Budget


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


def budget_sentence(budget: Budget) -> str:
    """How long each run is, before it begins.

    Example:
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


def _steps(steps: Sequence[int]) -> str:
    few, many = min(steps), max(steps)
    return f"{few:,}" if few == many else f"{few:,} to {many:,}"
