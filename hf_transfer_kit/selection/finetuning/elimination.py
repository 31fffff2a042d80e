"""Giving strategies up early: short runs of all, longer ones of the better half, full ones of the rest."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import cast

from transformers import PreTrainedModel, TrainerCallback, TrainingArguments

from hf_transfer_kit.data import PreparedData
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.selection.contest.budget import Budget
from hf_transfer_kit.selection.contest.candidate import Candidate
from hf_transfer_kit.selection.contest.contest import Contest
from hf_transfer_kit.selection.contest.halving import halving_powers, plan_rungs
from hf_transfer_kit.selection.finetuning.head_starts import HeadStarts
from hf_transfer_kit.selection.finetuning.running import Attach, Run, run_strategy
from hf_transfer_kit.selection.finetuning.task_judging import judging_of
from hf_transfer_kit.selection.strategies import Strategy
from hf_transfer_kit.selection.strategies.specification import strategy_text
from hf_transfer_kit.values import Elimination


def eliminate(
    strategies: Sequence[Strategy],
    make_model: Callable[[int], PreTrainedModel],
    data: PreparedData,
    contest: Contest[Run],
    *,
    reduction_factor: int,
    seed: int,
    callbacks: Callable[[str, int], Sequence[TrainerCallback]] | None = None,
    attach: Attach | None = None,
    heads: HeadStarts | None = None,
) -> tuple[list[Strategy], tuple[Elimination, ...]]:
    """Successive halving of transferring strategies on validation rows (Jamieson & Talwalkar 2016).

    Runs of ``max_steps / reduction_factor^k`` steps with one seed, the first with all strategies; one in
    ``reduction_factor`` goes on from each, two at least. ``from_scratch`` always goes on: it is what transfer is judged
    by. Test rows are not read.

    Args:
        strategies: Those of the race.
        make_model: As for the race; so are ``data``, ``callbacks``, ``attach`` and ``heads``.
        contest: Of the race, with the budget of a full run. A strategy whose short run breaks is out, which is noted
            there; short runs are kept in its store, without their weights.
        reduction_factor: 2 or more.
        seed: Of the short runs: of the race's seeds the first.

    Returns:
        Who runs the full budget, in the order given, and who was given up, when, and at which validation accuracy.

    Raises:
        SettingsError: When ``reduction_factor`` is below 2.
    """
    if isinstance(reduction_factor, bool) or not isinstance(reduction_factor, int) or reduction_factor < 2:
        raise SettingsError(f"reduction_factor={reduction_factor!r} is out of range; give a whole number of 2 or more.")
    judging, budget = judging_of(data), cast(Budget, contest.budget).of_known_length()
    running = [strategy for strategy in strategies if strategy.pretrained]
    given_up: list[Elimination] = []
    count = len(running)
    powers = halving_powers(count, budget.max_steps, reduction_factor)
    rungs = plan_rungs(count, budget.max_steps, (seed,), reduction_factor=reduction_factor, powers=powers)
    for rung, after in pairwise(rungs):
        steps = rung.steps
        spent = shortened(cast(TrainingArguments, contest.args), cast(Budget, contest.budget), steps)
        short = contest.under(*spent)

        def train(strategy: Strategy, title: str, spent: tuple[TrainingArguments, Budget], seed: int) -> Run:
            extra = tuple(callbacks(title, seed)) if callbacks else ()
            run = run_strategy(
                strategy, make_model, data, *spent, seed=seed, callbacks=extra, attach=attach, heads=heads, test=False
            )
            return replace(run, model=None)  # who goes on begins anew

        candidates = {}
        for strategy in running:
            title = f"{strategy_text(strategy)}, {steps} steps"
            candidates[strategy_text(strategy)] = Candidate(
                title, partial(train, strategy, title, spent), make_model, {"test": False, "head": strategy.head}
            )
        short.announce(candidates.values(), (seed,))
        reached = {}
        for text in candidates:
            for run in short.runs(candidates[text], (seed,)) or ():
                reached[text] = judging.score(run.validation)
        running = [strategy for strategy in running if strategy_text(strategy) in reached]
        order = sorted(running, key=lambda strategy: reached[strategy_text(strategy)], reverse=True)
        going_on = after.most
        given_up += [
            Elimination(
                strategy_text(strategy),
                steps,
                budget.max_steps,
                judging.sign * reached[strategy_text(strategy)][0],
                judging.metric,
            )
            for strategy in order[going_on:]
        ]
        running = order[:going_on]
    return [strategy for strategy in strategies if not strategy.pretrained or strategy in running], tuple(given_up)


def shortened(
    args: TrainingArguments, budget: Budget, steps: int, *, evaluations: int = 1
) -> tuple[TrainingArguments, Budget]:
    """Arguments and budget of a run of fewer steps, all of which it does: warm-up in proportion, looks at validation
    rows by default one, at the end.
    """
    args = copy.copy(args)
    if args.warmup_steps >= 1:  # below 1 it is a share already
        args.warmup_steps = args.warmup_steps * steps // budget.max_steps
    return args, replace(budget.of_known_length(), max_steps=steps, evaluations=evaluations)
