"""From what was measured and expected to a plan with its reasons: words and settings, nothing here measures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hf_transfer_kit.selection.advice.cases import BASE, Case, Settings
from hf_transfer_kit.selection.advice.outlook import by_nearness
from hf_transfer_kit.selection.contest.budget import Budget
from hf_transfer_kit.selection.strategies.specification import make_strategy
from hf_transfer_kit.values import CaseMeasures, StrategyOutlook, Trials

_NEAR = 0.75
"""Distance within which a measured case is called near."""
_FROM_SCRATCH = "from_scratch"
_AUGMENTATION = (
    "Augmentation is off: on four sets of 100 pictures crops and mirror images changed fine-tuning by -2.0 to +3.5 "
    "points within such a budget and frozen first layers by -2.9 to -0.6, and frozen layers could not be computed once."
)
"""Measured by hf-transfer run with and without --augment; see what was measured."""


def quadrant(measures: CaseMeasures, settings: Settings) -> tuple[bool, bool]:
    """Whether the data is large, and whether the source is similar."""
    return measures.rows_per_class >= settings.many_rows, measures.gain >= settings.similar_gain


def quadrant_name(large: bool, similar: bool) -> str:
    """Such as ``"small, similar"``."""
    return f"{'large' if large else 'small'}, {'similar' if similar else 'different'}"


def run_settings(strategy: str, budget: Budget, reads: str) -> dict[str, Any]:
    """Flags of ``hf-transfer finetune`` for a strategy under a budget."""
    settings = {
        "strategy": strategy,
        "max_steps": budget.max_steps,
        "batch_size": budget.batch_size,
        "learning_rate": budget.rate(reads, make_strategy(strategy).rate_kind),
        "warmup_steps": budget.max_steps // 10,
    }
    return {**settings, "augment": False} if reads == "image" else settings


def reasons(
    measures: CaseMeasures, outlooks: Sequence[StrategyOutlook], cases: Sequence[Case], settings: Settings
) -> tuple[str, ...]:
    """Why the first of ``outlooks`` is advised."""
    large, similar = quadrant(measures, settings)
    first, second = outlooks[:2]
    found = (
        f"{'Large' if large else 'Small'} data: {measures.rows:,} rows of {measures.classes} classes, "
        f"{measures.rows_per_class:.1f} a class (large from {settings.many_rows:.0f}), for a network of "
        f"{measures.parameters / 1e6:.1f} M weights.",
        f"{'Similar' if similar else 'Different'} source: a linear classifier on its features is right for "
        f"{measures.probe_accuracy:.0%} of rows left out, on features of random weights for "
        f"{measures.random_accuracy:.0%} (similar from a gain of {100 * settings.similar_gain:.0f} points); "
        f"guessing would give {1 / measures.classes:.0%}.",
        f"Half of the measured rows give {100 * measures.slope:.1f} points less: "
        + ("more labels would pay." if measures.slope > 0.03 else "more labels would change little."),
        f"By {len(cases)} measured cases, {first.strategy} is to be expected {first} points from {BASE}, "
        f"{second.strategy} {second}.",
        _near_cases_sentence(measures, cases),
    )
    return (*found, _AUGMENTATION) if measures.modality == "image" else found


def trial_reasons(trials: Trials, outlooks: Sequence[StrategyOutlook]) -> tuple[str, ...]:
    """What trials gave and took, and what is expected with them."""
    gave = ", ".join(f"{run.strategy} {run.accuracy:.1%}" for run in trials.runs)
    cost = f"They took {trials.seconds:.0f} s, and {trials.share:.0%} of the training rows of a race of all strategies."
    if len(trials.runs) < 2:
        ended = f"Of the trials one ended alone ({gave})" if trials.runs else "No trial ended"
        return (*trials.broken, f"{ended}, so that the plan rests on what was expected. {cost}")
    first, second = outlooks[:2]
    return (
        *trials.broken,
        f"Trials of {trials.steps} steps were right for so many of {trials.rows} validation rows: {gave}. {cost} "
        f"Joined with what was expected, {first.strategy} is {first} points from {BASE}, {second.strategy} {second}.",
    )


def near_cases(measures: CaseMeasures, cases: Sequence[Case]) -> list[Case]:
    """The cases within reach, nearest first."""
    return [case for distance, case in by_nearness(measures, cases) if distance <= _NEAR]


def would_change(
    measures: CaseMeasures,
    outlooks: Sequence[StrategyOutlook],
    settings: Settings,
    *,
    unlabelled_rows: int = 0,
    tried: bool = False,
) -> tuple[str, ...]:
    """What would lead to another plan."""
    large, similar = quadrant(measures, settings)
    found = []
    if not large:
        wanted = round(settings.many_rows * measures.classes)
        found.append(f"With about {wanted:,} labelled rows the data would count as large; ask again then.")
    if not similar:
        found.append(
            "A source nearer to the data would be worth more than any strategy: rank others with rank_sources."
        )
    fresh = next((entry for entry in outlooks if entry.strategy == _FROM_SCRATCH), None)
    if fresh is not None and outlooks[0].difference - fresh.difference < 2 * max(fresh.error, outlooks[0].error):
        found.append(
            "Training from scratch is not clearly behind: compare both with hf-transfer run before relying on this."
        )
    if unlabelled_rows > measures.rows:
        found.append(
            f"{unlabelled_rows:,} rows without labels stand beside {measures.rows:,} with: where a labelled source has "
            "the same classes, adapt.py uses them."
        )
    if measures.smallest_class == 0:
        found.append("Some classes have no row: zero_shot.py can name them by their attributes.")
    elif outlooks[0].difference - outlooks[1].difference < outlooks[1].error:
        found.append(
            f"{outlooks[1].strategy} is expected to be as good within the error; "
            + ("" if tried else "hf-transfer advise --trials tries both in short runs, ")
            + "hf-transfer run decides by a race."
        )
    return tuple(found)


def _near_cases_sentence(measures: CaseMeasures, cases: Sequence[Case]) -> str:
    near = near_cases(measures, cases)
    if not near:
        return "No measured case is near this one, so this is an extrapolation."
    named = ", ".join(f"{case.target} with {case.measures.rows:,} rows ({case.best})" for case in near[:3])
    return f"Near it lie {len(near)} of them, such as (with what won) {named}."
