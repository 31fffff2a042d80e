"""Fitting the advisor to measured cases, and testing it on families of datasets that were left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from hf_transfer_kit.selection.advice.cases import BASE, Case, Settings, strategies_of
from hf_transfer_kit.selection.advice.joining import joined
from hf_transfer_kit.selection.advice.outlook import expectation, outlook
from hf_transfer_kit.selection.advice.trials import COUNT

STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
FROZEN, FRESH = "head_only", "from_scratch"
_HOLD_THE_BODY = (FROZEN, "lora")


def fit_settings(cases: Sequence[Case]) -> Settings:
    """Strength by leaving one family out in turn; where size and similarity change what wins, by thresholds.

    Example:
        >>> fit_settings(measured_experience().cases[:20]).strength
        30.0
    """
    return Settings(
        strength=min(STRENGTHS, key=lambda strength: fmean(left_out_regrets(cases, strength))),
        many_rows=threshold(cases, lambda case: case.measures.rows_per_class, _training_the_body_won),
        similar_gain=threshold(cases, lambda case: case.measures.gain, _source_was_worth_much),
        trial_error=trial_error(cases),
    )


def left_out_regrets(cases: Sequence[Case], strength: float) -> list[float]:
    """Regret in each case when only cases of other families are known."""
    regrets = []
    for case in cases:
        others = [other for other in cases if other.family != case.family]
        regrets.append(case.regret(outlook(case.measures, others, strength)[0].strategy))
    return regrets


def trial_error(cases: Sequence[Case]) -> float | None:
    """Standard deviation of early accuracies around what strategies reach in full, beyond what validation rows explain.

    Differences between strategies count alone, as in ``joined``; ``from_scratch``, which has learned the least by then,
    does not. None where no case tells.
    """
    excess = []
    for case in (case for case in cases if case.early):
        names = [name for name in strategies_of(cases) if name != FRESH]
        centred = np.eye(len(names)) - 1 / len(names)
        for seed in range(len(case.early[names[0]])):
            shares, rows_error = case.early_shares(names, seed)
            apart = centred @ (shares - [case.mean(name) for name in names])
            excess.append((apart @ apart - np.trace(centred @ rows_error)) / (len(names) - 1))
    return float(np.sqrt(max(np.mean(excess), 0.0))) if excess else None


def evaluate_advice(cases: Sequence[Case]) -> dict[str, object]:
    """Advice for each family by what is fitted to the others alone, beside fixed strategies.

    Returns:
        ``cells``: what was advised, what won and what advice lost; ``within_a_point``: share of cells that lost at most
        0.01; ``mean_regret``: of advice and of each strategy always; ``by_family``: of advice and of fine-tuning
        everything; ``trials``: the same two, mean over seeds, of advice with trials (``trial_regrets``), None where
        cases do not tell; ``across_seeds``: see there.

    Example:
        >>> cases = measured_experience().cases
        >>> sorted(evaluate_advice(cases[:20]))
        ['across_seeds', 'by_family', 'cells', 'mean_regret', 'trials', 'within_a_point']
    """
    cells: list[dict[str, Any]] = []
    tried: list[list[float]] = []
    for family in dict.fromkeys(case.family for case in cases):
        others = [case for case in cases if case.family != family]
        settings = fit_settings(others)
        for case in (case for case in cases if case.family == family):
            advised = outlook(case.measures, others, settings.strength)[0].strategy
            tried.append(trial_regrets(case, others, settings))
            cells.append(
                {
                    "source": case.source,
                    "target": case.target,
                    "rows": case.measures.rows,
                    "family": family,
                    "advised": advised,
                    "best": case.best,
                    "regret": round(case.regret(advised), 4),
                    "full_regret": round(case.regret(BASE), 4),
                    "trial_regret": round(fmean(tried[-1]), 4) if tried[-1] else None,
                }
            )
    regrets = {"advice": "regret", BASE: "full_regret"}
    return {
        "cells": cells,
        "within_a_point": fmean(cell["regret"] <= 0.01 for cell in cells),
        "mean_regret": {
            "advice": fmean(cell["regret"] for cell in cells),
            **{name: fmean(case.regret(name) for case in cases) for name in strategies_of(cases)},
        },
        "by_family": {
            family: {
                name: fmean(cell[regret] for cell in cells if cell["family"] == family)
                for name, regret in regrets.items()
            }
            for family in dict.fromkeys(cell["family"] for cell in cells)
        },
        "trials": _of_trials(tried) if all(tried) else None,
        "across_seeds": across_seeds(cases),
    }


def _of_trials(regrets: Sequence[Sequence[float]]) -> dict[str, float]:
    return {
        "within_a_point": fmean(fmean(regret <= 0.01 for regret in found) for found in regrets),
        "mean_regret": fmean(map(fmean, regrets)),
    }


def trial_regrets(case: Case, others: Sequence[Case], settings: Settings) -> list[float]:
    """What advice with trials loses in a case, for each of its seeds; none where the case does not tell.

    A trial is the seed's own run after two thirds of its steps, judged by its validation rows: it stands for a shorter
    run of its own, whose rate would have fallen by then.
    """
    if settings.trial_error is None or not case.early:
        return []
    expected = expectation(case.measures, others, settings.strength)
    names = expected.likeliest(COUNT)
    found = []
    for seed in range(len(case.early[names[0]])):
        after = joined(expected, names, *case.early_shares(names, seed), trial_error=settings.trial_error)
        found.append(case.regret(after.among(names).outlook()[0].strategy))
    return found


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
    trained = [name for name in case.accuracy if name not in (*_HOLD_THE_BODY, FRESH)]
    return max(case.mean(name) for name in trained) > case.mean(FROZEN)


def _source_was_worth_much(case: Case) -> bool:
    """The features as they are beat the same network trained from random weights."""
    return case.mean(FROZEN) > case.mean(FRESH) + 0.1
