"""A strategy's runs with all seeds as one result: means, spreads and the interval on test rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hf_transfer_kit.selection.contest.bootstrap import metric_interval, runs_interval
from hf_transfer_kit.selection.finetuning.running import Run
from hf_transfer_kit.selection.finetuning.task_judging import Judging
from hf_transfer_kit.values import StrategyResult


def summarize(text: str, summary: str, runs: Sequence[Run], judging: Judging) -> StrategyResult:
    """Mean and spread of a strategy's runs."""
    validation, test = (
        {name: [getattr(run, split)[name] for run in runs] for name in getattr(runs[0], split)}
        for split in ("validation", "test")
    )
    return StrategyResult(
        strategy=text,
        summary=summary,
        seeds=tuple(run.seed for run in runs),
        validation={name: float(np.mean(values)) for name, values in validation.items()},
        test={name: float(np.mean(values)) for name, values in test.items()},
        test_spread={name: float(np.std(values, ddof=1)) if len(runs) > 1 else 0.0 for name, values in test.items()},
        test_interval=_interval(runs, judging),
        metric=judging.metric,
        test_by_seed=tuple(run.test[judging.metric] for run in runs),
        curve=runs[0].curve,
        trainable_parameters=runs[0].trainable_parameters,
        total_parameters=runs[0].total_parameters,
        seconds=float(np.mean([run.seconds for run in runs])),
        steps=tuple(run.steps for run in runs),
        ended=tuple(run.ended for run in runs),
    )


def _interval(runs: Sequence[Run], judging: Judging) -> tuple[float, float] | None:
    if judging.metric == "accuracy" and runs[0].true.ndim == 1:
        return runs_interval([run.true for run in runs], [run.predicted for run in runs])
    return metric_interval([judging.by_row(run.predicted, run.true) for run in runs]) if len(runs[0].true) else None
