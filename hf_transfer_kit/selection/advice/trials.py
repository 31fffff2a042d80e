"""Short runs of the strategies that are likeliest to be the best, for a part of what racing all of them takes."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import cast

import numpy as np
from transformers import PreTrainedModel, TrainingArguments

from hf_transfer_kit.data import PreparedData
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.selection.advice.joining import joined
from hf_transfer_kit.selection.advice.outlook import Expectation
from hf_transfer_kit.selection.advice.paired_rows import paired_shares
from hf_transfer_kit.selection.contest.budget import Budget
from hf_transfer_kit.selection.contest.candidate import Candidate
from hf_transfer_kit.selection.contest.contest import Contest
from hf_transfer_kit.selection.contest.store import RunStore
from hf_transfer_kit.selection.finetuning.caching import PrefixCaches
from hf_transfer_kit.selection.finetuning.elimination import shortened
from hf_transfer_kit.selection.finetuning.head_starts import HeadStarts
from hf_transfer_kit.selection.finetuning.running import Run, race_facts, run_strategy
from hf_transfer_kit.selection.strategies import Strategy
from hf_transfer_kit.selection.strategies.specification import make_strategy
from hf_transfer_kit.values import StrategyTrial, Trials

COUNT = 3
"""Trials at most."""
SHARE = 0.2
"""Rows that all trials train on, as a share of a race's: some time beside goes into looking at validation rows."""


def trial_steps(budget: Budget, strategies: int) -> int:
    """Steps of each trial, so that all of them take ``SHARE`` of what racing so many strategies takes.

    Raises:
        SettingsError: When that is less than one step.

    Example:
        >>> trial_steps(Budget(100, 32), strategies=6)
        40
    """
    steps = int(SHARE * strategies * budget.max_steps / min(COUNT, strategies))
    if steps < 1:
        raise SettingsError(
            f"Trials take {SHARE:.0%} of what racing {strategies} strategies would take, and of runs of "
            f"{budget.max_steps} steps that is less than one step each. Give more steps, or leave the trials out."
        )
    return min(steps, budget.max_steps)


def run_trials(
    expected: Expectation,
    make_model: Callable[[int], PreTrainedModel],
    data: PreparedData,
    args: TrainingArguments | None,
    budget: Budget,
    *,
    warmup_steps: int,
    trial_error: float,
    seed: int = 0,
    store: RunStore | None = None,
    caches: PrefixCaches | None = None,
) -> tuple[Expectation, Trials]:
    """The likeliest strategies in short runs of one seed, and what is expected of them afterwards.

    Test rows are not read. A trial that breaks is left out, and told; where less than two are left, all strategies are
    as they were expected. What was not tried is not advised on: it would hang on how strategies go together in a few
    dozen cases.

    Args:
        expected: Of strategies that fit the model.
        make_model: Seed -> freshly loaded pretrained model with a fresh head.
        data: Prepared splits.
        args: For the stock Trainer; None for its defaults.
        budget: Of a full run.
        warmup_steps: Likewise.
        trial_error: As in ``joined``.
        seed: Of the runs.
        store: Where runs that end are kept and taken from, without weights; None keeps none.
        caches: Gives strategies with frozen first layers what these give, computed once for all their runs.

    Raises:
        SettingsError: When the budget is too small for trials.
    """
    steps = trial_steps(budget, len(expected.strategies))
    names = expected.likeliest(COUNT)
    with tempfile.TemporaryDirectory(prefix="trials-") as folder:
        args = copy.copy(args) if args else _usual_arguments(budget, folder)
        args.warmup_steps = warmup_steps
        contest = Contest(
            Run,
            *shortened(args, budget, steps),
            store,
            facts=cache(partial(race_facts, make_model, data, seed)),
        )
        ended = _ended(contest, names, make_model, data, seed=seed, caches=caches)
    correct = np.array([run.validation_correct for run in ended.values()], dtype=bool)
    correct = correct.reshape(len(ended), len(data.validation))  # of none, too
    shares, rows_error = paired_shares(correct)
    after = joined(expected, list(ended), shares, rows_error, trial_error=trial_error)
    after = after.among(list(ended)) if len(ended) > 1 else after
    told = Trials(
        runs=tuple(
            StrategyTrial(name, float(right.mean()), float(np.sqrt(variance)), run.seconds)
            for (name, run), right, variance in zip(ended.items(), correct, np.diag(rows_error), strict=True)
        ),
        steps=steps,
        rows=len(data.validation),
        share=len(names) * steps / (len(expected.strategies) * budget.max_steps),
        expected=expected.outlook(),
        broken=tuple(map(str, contest.failed)),
    )
    return after, told


def _ended(
    contest: Contest[Run],
    names: Sequence[str],
    make_model: Callable[[int], PreTrainedModel],
    data: PreparedData,
    *,
    seed: int,
    caches: PrefixCaches | None,
) -> dict[str, Run]:
    """The strategies' runs under the contest's budget, but those that broke; weights are not kept."""
    args, budget, heads = cast(TrainingArguments, contest.args), cast(Budget, contest.budget), HeadStarts(data)
    attach = caches.attach if caches else None

    def train(strategy: Strategy, seed: int) -> Run:
        run = run_strategy(strategy, make_model, data, args, budget, seed=seed, attach=attach, heads=heads, test=False)
        return replace(run, model=None)  # the plan's run begins anew

    found: dict[str, Run] = {}
    strategies = heads.settled([make_strategy(name) for name in names], make_model(seed))
    for name, strategy in zip(names, strategies, strict=True):
        options = {"test": False, "head": strategy.head}
        candidate = Candidate(f"{name}, {budget.max_steps} steps", partial(train, strategy), make_model, options)
        for run in contest.runs(candidate, (seed,)) or ():
            found[name] = run
    contest.finished()
    return found


def _usual_arguments(budget: Budget, folder: str) -> TrainingArguments:
    return TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=budget.batch_size,
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
