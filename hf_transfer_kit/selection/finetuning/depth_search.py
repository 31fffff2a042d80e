"""How many layer groups to freeze, measured at a fraction of the cost of training every depth."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import cast

import numpy as np
from transformers import PreTrainedModel, TrainerCallback, TrainingArguments

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones import layer_groups
from hf_transfer_kit.data import SPLITS, PreparedData
from hf_transfer_kit.data.class_balance import classes_of
from hf_transfer_kit.data.label_kinds import CLASSIFICATION
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.features import CachedBoundaries
from hf_transfer_kit.near_names import did_you_mean
from hf_transfer_kit.options import check_ints, check_seeds
from hf_transfer_kit.selection.contest.budget import Budget
from hf_transfer_kit.selection.contest.candidate import Candidate
from hf_transfer_kit.selection.contest.contest import Contest
from hf_transfer_kit.selection.contest.halving import (
    Rung,
    Score,
    affordable,
    best_of,
    cheapest_within_one_error,
    error_of_difference,
    plan_rungs,
    preference,
    standard_error,
)
from hf_transfer_kit.selection.contest.store import RunStore
from hf_transfer_kit.selection.finetuning.depth_boundaries import depth_boundaries
from hf_transfer_kit.selection.finetuning.depth_costs import forward_costs, training_cost
from hf_transfer_kit.selection.finetuning.depth_reason import depth_sentence
from hf_transfer_kit.selection.finetuning.elimination import shortened
from hf_transfer_kit.selection.finetuning.head_starts import HeadStarts
from hf_transfer_kit.selection.finetuning.running import Run, race_facts, run_strategy
from hf_transfer_kit.selection.strategies import Strategy
from hf_transfer_kit.selection.strategies.freeze_first import FreezeFirst
from hf_transfer_kit.selection.strategies.freeze_last import FreezeLast
from hf_transfer_kit.selection.strategies.full import Full
from hf_transfer_kit.selection.strategies.head_only import HeadOnly
from hf_transfer_kit.selection.strategies.specification import strategy_text
from hf_transfer_kit.values import DepthResult, DepthSearch, LayerGroups

DIRECTIONS = ("first", "last")


@checked_arguments()
def search_freeze_depth(
    make_model: Callable[[int], PreTrainedModel],
    data: PreparedData,
    args: TrainingArguments,
    budget: Budget,
    *,
    depths: Sequence[int] | None = None,
    direction: str = "first",
    head: str | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    reduction_factor: int = 3,
    share: float = 0.28,
    cache_dir: str | Path | None = None,
    cache_budget: int | float | str | None = None,
    dtype: str = "float32",
    callbacks: Callable[[str, int], Sequence[TrainerCallback]] | None = None,
    on_result: Callable[[DepthResult], None] | None = None,
    store: RunStore | None = None,
) -> DepthSearch:
    """Finds how many layer groups to freeze by successive halving over the depths (Jamieson & Talwalkar 2016).

    One pass through the network stores what crosses every boundary, and a run at depth k trains what lies behind its
    own. Shallow depths stay expensive: training everything costs as much as before, so the halving is what saves. All
    depths get a short run with one seed; a third of them (with ``reduction_factor=3``) a full one with that seed; two
    of these all seeds. On goes the depth that would be chosen now, then the best of the other half of the depths (short
    runs are unjust to shallow freezing, which has more to learn), then the best others, as many as fit into what may be
    spent: ``share`` of the estimated cost of training every depth with every seed, uncached. Where that does not pay
    for two depths with all seeds, they get fewer; where it pays for no more runs of both, the choice falls on the rung
    before.

    Every run has the learning-rate schedule of its own number of steps. Only the validation split decides, by the
    metric of ``data.balance``, accuracy by default; the chosen
    depth is the cheapest (fewest parameters that move) within one standard error of the best on the last rung: that of
    the paired difference, since all depths are measured on the same rows.

    Args:
        make_model: Seed -> freshly loaded pretrained model with a fresh head.
        data: Prepared splits and their collator.
        args: Arguments for the stock Trainer; warm-up steps shrink with the budget.
        budget: What a full run may spend.
        depths: Numbers of frozen groups to try, from 0 (everything is trained) to the number before the head (the head
            alone); None tries all.
        direction: ``"first"`` freezes from the input; ``"last"`` next to the head, for speech, where nothing can be
            cached, because what changes comes first.
        head: What the runs' heads begin with, as of ``freeze_first``.
        seeds: Runs of a depth on the last rung, at least one, none twice.
        reduction_factor: Factor between the budgets of neighbouring rungs, at least 2.
        share: In (0, 1]. Counted in floating-point operations of training; wall time comes out lower (about 0.8 of it
            on a CPU), since cached rows also spare evaluations the frozen part.
        cache_dir: Folder of the cache; see ``cache_boundaries``, as for the two that follow.
        cache_budget: Bytes that the cache may take; 0 trains every depth uncached.
        dtype: What the cache is stored as.
        callbacks: Strategy text and seed -> callbacks for that run's Trainer.
        on_result: Called with each depth's result on each rung.
        store: Where finished runs, the short ones too, are kept and taken from; None keeps none.

    Raises:
        NotFiniteError: When every depth broke; one that breaks is out, and ``notes`` say so.
        SettingsError: When an argument is not allowed, the cache would be larger than its budget, or the task is no
            classification; before any run.

    Example:
        >>> found = search_freeze_depth(make_model, data, args, budget, depths=[0, 2], seeds=[0], cache_dir="cache")
        Caching the first 2 layer groups of 51 rows: about 157.1 KB in cache.
        >>> found.chosen in (0, 2)
        True
    """
    started = time.perf_counter()
    if data.task_type != CLASSIFICATION:
        raise SettingsError(
            f"A depth is searched for by shares of rows that are right, and this is a task of {data.task_type}. Race "
            "some depths instead: freeze_first:k=1, freeze_first:k=2."
        )
    check_seeds("The depth search", seeds)
    model, heads = make_model(seeds[0]), HeadStarts(data)
    groups = layer_groups(model)
    depths = _checked_depths(groups, depths, direction, share)
    strategies = [depth_strategy(groups, depth, direction, head=head) for depth in depths]
    strategies[0].check_head()
    rungs = plan_rungs(len(depths), budget.max_steps, seeds, reduction_factor=reduction_factor)
    caches, notes = depth_boundaries(
        model,
        make_model,
        data,
        depths,
        direction,
        seeds=seeds,
        cache_dir=cache_dir,
        cache_budget=cache_budget,
        dtype=dtype,
    )
    shares = forward_costs(model, groups, data.collator([data.train[0], data.train[0]]))
    frozen = {depth: groups_frozen_at(len(groups.body), depth, direction) for depth in depths}
    usable = caches.depths if caches else ()
    facts = cache(lambda: {**race_facts(make_model, data, seeds[0]), "boundaries": dtype})
    search = _Search(
        make_model, data, Contest(Run, args, budget, store, facts=facts), direction, caches, callbacks, on_result,
        strategies=dict(zip(depths, heads.settled(strategies, model), strict=True)), heads=heads, groups=groups,
        cost={depth: training_cost(shares, frozen[depth], cached=depth in usable) for depth in depths},
        price={depth: _movable(groups, frozen[depth]) for depth in depths},
    )  # fmt: skip
    rows_of_run = budget.max_steps * budget.batch_size
    allowed = share * sum(training_cost(shares, frozen[d], cached=False) for d in depths) * rows_of_run * len(seeds)
    allowed -= sum(len(getattr(data, split)) for split in SPLITS) if usable else 0
    chosen, error = search.climb(rungs, depths, allowed)
    search.contest.finished()
    notes = (*notes, *map(str, search.contest.failed))
    results = tuple(search.results[depth] for depth in depths if depth in search.results)
    seconds = {
        "total": time.perf_counter() - started,
        "caching": caches.seconds if caches else 0.0,
        "training": search.seconds,
    }
    strategy = strategy_text(search.strategies[chosen])
    sentence = depth_sentence(
        results, chosen, strategy, price=search.price, body=len(groups.body), error=error, metric=data.balance.metric
    )
    return DepthSearch(chosen, strategy, direction, results, seconds, sentence, notes, data.balance.metric)


def depth_strategy(groups: LayerGroups, depth: int, direction: str = "first", *, head: str | None = None) -> Strategy:
    """The strategy that freezes ``depth`` groups: ``full`` for none, ``head_only`` for all before the head.

    Example:
        >>> groups = layer_groups(model)
        >>> depth_strategy(groups, 0), depth_strategy(groups, 2)
        (Full(), FreezeFirst(k=2))
    """
    if depth == 0:
        return Full(head=head)
    if depth == len(groups.body):
        return HeadOnly(head=head)
    return FreezeFirst(k=depth, head=head) if direction == "first" else FreezeLast(k=depth, head=head)


@dataclass(frozen=True)
class Outcome:
    """One run: validation accuracy, loss, what each row adds to it; test accuracy (None if not looked at); wall time.

    Accuracy stands for the metric of ``data.balance``.
    """

    accuracy: float
    loss: float
    test_accuracy: float | None
    seconds: float
    correct: np.ndarray | None


@dataclass
class _Search:
    """One search: what every run needs, and what was found so far."""

    make_model: Callable[[int], PreTrainedModel]
    data: PreparedData
    contest: Contest[Run]
    direction: str
    caches: CachedBoundaries | None
    callbacks: Callable[[str, int], Sequence[TrainerCallback]] | None
    on_result: Callable[[DepthResult], None] | None
    strategies: Mapping[int, Strategy] = field(kw_only=True)
    heads: HeadStarts = field(kw_only=True)
    groups: LayerGroups = field(kw_only=True)
    cost: Mapping[int, float] = field(kw_only=True)
    price: Mapping[int, int] = field(kw_only=True)
    results: dict[int, DepthResult] = field(default_factory=dict)
    runs: dict[tuple[int, int, int], Outcome] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def budget(self) -> Budget:
        """Of a full run."""
        return cast(Budget, self.contest.budget)

    def climb(self, rungs: Sequence[Rung], depths: Sequence[int], allowed: float) -> tuple[int, float]:
        """Runs the rungs; the chosen depth, and the standard error of its difference to the best."""
        survivors = tuple(depths)
        scores: dict[int, Score] = {}
        for index, rung in enumerate(rungs):
            if scores:
                rung, survivors = self.next_round(rung, preference(scores, self.price), allowed)
                if len(survivors) < 2:
                    break
            allowed -= sum(self.missing_cost(depth, rung) for depth in survivors)
            reached = {depth: score for depth in survivors if (score := self.score(depth, index, rung)) is not None}
            scores = reached or {depth: score for depth, score in scores.items() if depth not in survivors}
            if not reached:
                break
        if not scores:
            self.contest.check()
        chosen = cheapest_within_one_error(scores, self.price)
        return chosen, error_of_difference(scores[best_of(scores, self.price)], scores[chosen])

    def next_round(self, rung: Rung, order: Sequence[int], allowed: float) -> tuple[Rung, tuple[int, ...]]:
        """The rung, with fewer seeds where two depths with all of them cost too much, and who goes on to it."""
        if len(rung.seeds) == 1:
            return rung, affordable(order, self.costs(order, rung), limit=allowed, most=rung.most)
        for count in range(len(rung.seeds), 1, -1):
            smaller = replace(rung, seeds=rung.seeds[:count])
            survivors = affordable(order, self.costs(order, smaller), limit=allowed, most=rung.most)
            if set(order[:2]) <= set(survivors):
                return smaller, survivors
        return rung, ()

    def costs(self, depths: Sequence[int], rung: Rung) -> dict[int, float]:
        """What the runs of a rung that were not made yet cost."""
        return {depth: self.missing_cost(depth, rung) for depth in depths}

    def missing_cost(self, depth: int, rung: Rung) -> float:
        """The same for one depth, in forward passes of one row."""
        missing = sum((depth, rung.steps, seed) not in self.runs for seed in rung.seeds)
        return self.cost[depth] * rung.steps * self.budget.batch_size * missing

    def score(self, depth: int, index: int, rung: Rung) -> Score | None:
        """What one depth reaches on one rung, None where it broke; runs of an earlier rung are not made again."""
        strategy = self.strategies[depth]
        for seed in rung.seeds:
            if (depth, rung.steps, seed) not in self.runs:
                outcome = self.run(strategy, depth, rung.steps, seed)
                if outcome is None:
                    return None
                self.runs[depth, rung.steps, seed] = outcome
        runs = [self.runs[depth, rung.steps, seed] for seed in rung.seeds]
        accuracies = [run.accuracy for run in runs]
        error = standard_error(accuracies, len(self.data.validation))
        edge = groups_frozen_at(len(self.groups.body), depth, self.direction)
        tested = [run.test_accuracy for run in runs if run.test_accuracy is not None]
        self.results[depth] = DepthResult(
            depth=depth,
            group=self.groups[edge[-1] if self.direction == "first" else edge[0]].name if edge else "",
            strategy=strategy_text(strategy),
            rung=index,
            steps=rung.steps,
            seeds=rung.seeds,
            accuracy=float(np.mean(accuracies)),
            error=error,
            test_accuracy=float(np.mean(tested)) if tested else None,
            seconds=float(np.mean([run.seconds for run in runs])),
            cost=self.cost[depth],
            trainable_parameters=self.price[depth],
            cached=self.caches is not None and depth in self.caches.depths,
        )
        if self.on_result:
            self.on_result(self.results[depth])
        rows = [run.correct for run in runs]
        correct = None if any(row is None for row in rows) else np.mean(cast(list[np.ndarray], rows), axis=0)
        return Score(float(np.mean(accuracies)), error, float(np.mean([run.loss for run in runs])), correct)

    def run(self, strategy: Strategy, depth: int, steps: int, seed: int) -> Outcome | None:
        """One run, None where it broke; a short one looks at the validation split once, at its end, and never at the
        test split.
        """
        started = time.perf_counter()
        text = strategy_text(strategy)
        spent = cast(TrainingArguments, self.contest.args), self.budget
        whole = steps == self.budget.max_steps
        if not whole:
            spent = shortened(*spent, steps)
        contest = self.contest if whole else self.contest.under(*spent)
        attach = self.caches.attach if self.caches is not None and depth in self.caches.depths else None

        def train(seed: int) -> Run:
            extra = tuple(self.callbacks(text, seed)) if self.callbacks else ()
            run = run_strategy(
                strategy, self.make_model, self.data, *spent,
                seed=seed, callbacks=extra, attach=attach, heads=self.heads, test=whole,
            )  # fmt: skip
            return replace(run, model=None)  # numbers only: kept runs must not keep their models

        title = text if whole else f"{text}, {steps} steps"
        options = {"test": whole, "cached": attach is not None, "head": strategy.head}
        found = contest.runs(Candidate(title, train, self.make_model, options), (seed,))
        self.seconds += time.perf_counter() - started
        if found is None:
            return None
        (run,) = found
        balance, correct = self.data.balance, run.validation_correct
        if correct is not None and balance.metric != "accuracy":
            correct = balance.shares(correct, np.asarray(classes_of(self.data.validation)))
        return Outcome(
            run.validation[balance.metric],
            run.validation["loss"],
            run.test.get(balance.metric),
            run.seconds,
            correct,
        )


def _checked_depths(groups: LayerGroups, depths: Sequence[int] | None, direction: str, share: float) -> tuple[int, ...]:
    if direction not in DIRECTIONS:
        raise SettingsError(
            f"direction={direction!r} is unknown; choose 'first' or 'last'.{did_you_mean(direction, DIRECTIONS)}"
        )
    if not 0 < share <= 1:
        raise SettingsError(f"share={share} is outside (0, 1]: it is the part of an exhaustive search to spend.")
    most = len(groups.body) if groups.head is not None else len(groups.body) - 1
    if depths is None:
        return tuple(range(most + 1))
    return tuple(sorted(check_ints("The depth search, of layer groups to freeze", "depths", depths, low=0, high=most)))


def groups_frozen_at(body: int, depth: int, direction: str) -> range:
    """Which of ``body`` groups before the head are frozen at a depth, by index.

    Example:
        >>> groups_frozen_at(5, 2, "first"), groups_frozen_at(5, 2, "last")
        (range(0, 2), range(3, 5))
    """
    return range(depth) if direction == "first" else range(body - depth, body)


def _movable(groups: LayerGroups, frozen: range) -> int:
    return sum(group.num_parameters for index, group in enumerate(groups) if index not in frozen)
