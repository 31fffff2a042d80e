"""Fitting the advisor to measured cases, and testing it on families of datasets that were left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

import numpy as np

from hf_transfer_kit.selection.advice.cases import BASE, Case, Settings, strategies_of
from hf_transfer_kit.selection.advice.outlook import outlook

BANDWIDTHS = (0.15, 0.25, 0.4, 0.6, 1.0)
FROZEN, FRESH = "head_only", "from_scratch"


def fit_settings(cases: Sequence[Case]) -> Settings:
    """Bandwidth by leaving one family out in turn; where size and similarity change what wins, by thresholds."""
    return Settings(
        bandwidth=min(BANDWIDTHS, key=lambda h: fmean(left_out_regrets(cases, h))),
        many_rows=threshold(cases, lambda case: case.measures.rows_per_class, _training_the_body_won),
        similar_gain=threshold(cases, lambda case: case.measures.gain, _source_was_worth_much),
    )


def left_out_regrets(cases: Sequence[Case], bandwidth: float) -> list[float]:
    """Regret in each case when only cases of other families are known."""
    regrets = []
    for case in cases:
        others = [other for other in cases if other.family != case.family]
        regrets.append(case.regret(outlook(case.measures, others, bandwidth)[0].strategy))
    return regrets


def evaluate_advice(cases: Sequence[Case]) -> dict[str, object]:
    """Advice for each family by what is fitted to the others alone, beside fixed strategies.

    Returns:
        ``cells``: what was advised, what won and what it cost; ``mean_regret`` of advice and of each strategy always;
        ``within_a_point``: share of cells with a regret of at most 0.01; ``halves``: where every cell has two seeds or
        more, the same with the best strategy chosen by one seed and judged by another.
    """
    cells = []
    for family in dict.fromkeys(case.family for case in cases):
        others = [case for case in cases if case.family != family]
        settings = fit_settings(others)
        for case in (case for case in cases if case.family == family):
            advised = outlook(case.measures, others, settings.bandwidth)[0].strategy
            cells.append(
                {
                    "source": case.source,
                    "target": case.target,
                    "rows": case.measures.rows,
                    "advised": advised,
                    "best": case.best,
                    "regret": round(case.regret(advised), 4),
                    "over_full": round(case.mean(advised) - case.mean(BASE), 4),
                }
            )
    regrets = [cell["regret"] for cell in cells]
    return {
        "cells": cells,
        "within_a_point": fmean(regret <= 0.01 for regret in regrets),
        "mean_regret": {
            "advice": fmean(regrets),
            **{name: fmean(case.regret(name) for case in cases) for name in strategies_of(cases)},
        },
        "oracle_across_seeds": across_seeds(cases),
    }


def across_seeds(cases: Sequence[Case]) -> float | None:
    """Regret of the strategy that is best by all seeds but one, judged by that one against its own best.

    What remains when the very cell has been measured: the part of any regret that is chance. None with single seeds.
    """
    losses = []
    for case in cases:
        runs = np.array(list(case.accuracy.values()))  # (strategies, seeds)
        for seed in range(runs.shape[1] if runs.shape[1] > 1 else 0):
            chosen = np.delete(runs, seed, axis=1).mean(1).argmax()
            losses.append(runs[:, seed].max() - runs[chosen, seed])
    return float(np.mean(losses)) if losses else None


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
