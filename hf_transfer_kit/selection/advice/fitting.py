"""Fitting the advisor to measured cases, and testing it on families of datasets that were left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from hf_transfer_kit.selection.advice.cases import Case, Settings, strategies_of
from hf_transfer_kit.selection.advice.outlook import outlook

STRENGTHS = (0.3, 1.0, 3.0, 10.0)
FROZEN, FRESH = "head_only", "from_scratch"


def fit_settings(cases: Sequence[Case]) -> Settings:
    """Strength by leaving one family out in turn; where size and similarity change what wins, by thresholds.

    Example:
        >>> fit_settings(measured_experience().cases[:20]).strength
        1.0
    """
    return Settings(
        strength=min(STRENGTHS, key=lambda strength: fmean(left_out_regrets(cases, strength))),
        many_rows=threshold(cases, lambda case: case.measures.rows_per_class, _training_the_body_won),
        similar_gain=threshold(cases, lambda case: case.measures.gain, _source_was_worth_much),
    )


def left_out_regrets(cases: Sequence[Case], strength: float) -> list[float]:
    """Regret in each case when only cases of other families are known."""
    regrets = []
    for case in cases:
        others = [other for other in cases if other.family != case.family]
        regrets.append(case.regret(outlook(case.measures, others, strength)[0].strategy))
    return regrets


def evaluate_advice(cases: Sequence[Case]) -> dict[str, object]:
    """Advice for each family by what is fitted to the others alone, beside fixed strategies.

    Returns:
        ``cells``: what was advised, what won and what advice lost; ``within_a_point``: share of cells that lost at most
        0.01; ``mean_regret``: of advice and of each strategy always; ``across_seeds``: see there.

    Example:
        >>> cases = measured_experience().cases
        >>> sorted(evaluate_advice(cases[:20]))
        ['across_seeds', 'cells', 'mean_regret', 'within_a_point']
    """
    cells: list[dict[str, Any]] = []
    for family in dict.fromkeys(case.family for case in cases):
        others = [case for case in cases if case.family != family]
        settings = fit_settings(others)
        for case in (case for case in cases if case.family == family):
            found = outlook(case.measures, others, settings.strength)
            advised = found[0].strategy
            cells.append(
                {
                    "source": case.source,
                    "target": case.target,
                    "rows": case.measures.rows,
                    "advised": advised,
                    "best": case.best,
                    "regret": round(case.regret(advised), 4),
                }
            )
    return {
        "cells": cells,
        "within_a_point": fmean(cell["regret"] <= 0.01 for cell in cells),
        "mean_regret": {
            "advice": fmean(cell["regret"] for cell in cells),
            **{name: fmean(case.regret(name) for case in cases) for name in strategies_of(cases)},
        },
        "across_seeds": across_seeds(cases),
    }


def across_seeds(cases: Sequence[Case]) -> dict[str, float] | None:
    """Regret of the strategy that is best by all seeds but one, judged by that one against its own best.

    What remains when the very cell has been measured: the part of any regret that is chance. None with single seeds.

    Returns:
        ``mean_regret`` and ``within_a_point`` over the cases with several seeds.
    """
    losses = []
    for case in cases:
        runs = np.array(list(case.accuracy.values()))  # (strategies, seeds)
        for seed in range(runs.shape[1] if runs.shape[1] > 1 else 0):
            chosen = np.delete(runs, seed, axis=1).mean(1).argmax()
            losses.append(runs[:, seed].max() - runs[chosen, seed])
    if not losses:
        return None
    return {"mean_regret": float(np.mean(losses)), "within_a_point": float(np.mean(np.array(losses) <= 0.01))}


def threshold(
    cases: Sequence[Case], value: Callable[[Case], float], outcome: Callable[[Case], bool], *, least: int = 2
) -> float:
    """The value that best parts cases with an outcome (above) from those without: most cases on their right side.

    Of equal ones the middle one, halfway between two cases.
    """
    values = np.array([value(case) for case in cases])
    truth = np.array([outcome(case) for case in cases])
    edges = np.unique(values)
    if len(edges) < least:
        return float(edges[0])
    middles = (edges[1:] + edges[:-1]) / 2
    right = [np.sum((values > middle) == truth) for middle in middles]
    best = np.flatnonzero(right == np.max(right))
    return float(middles[best[len(best) // 2]])


def _training_the_body_won(case: Case) -> bool:
    trained = [name for name in case.accuracy if name not in (FROZEN, FRESH)]
    return max(case.mean(name) for name in trained) > case.mean(FROZEN)


def _source_was_worth_much(case: Case) -> bool:
    """The features as they are beat the same network trained from random weights."""
    return case.mean(FROZEN) > case.mean(FRESH) + 0.1
