"""The race: several strategies under one budget, the winner chosen on validation, transfer judged on test."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import cast

import numpy as np
from transformers import PreTrainedModel, TrainerCallback, TrainingArguments

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones import layer_groups
from hf_transfer_kit.backbones.windows import check_window
from hf_transfer_kit.data import PreparedData
from hf_transfer_kit.data.label_kinds import CLASSIFICATION
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.features.layer_output import learn_inputs
from hf_transfer_kit.metrics import RowMetric
from hf_transfer_kit.selection.contest.budget import Budget
from hf_transfer_kit.selection.contest.candidate import Candidate, check_entries
from hf_transfer_kit.selection.contest.contest import Contest
from hf_transfer_kit.selection.contest.executors import Executor
from hf_transfer_kit.selection.contest.outcome import Outcome
from hf_transfer_kit.selection.contest.store import RunStore
from hf_transfer_kit.selection.contest.verdict import judge_transfer
from hf_transfer_kit.selection.finetuning.caching import PrefixCaches
from hf_transfer_kit.selection.finetuning.elimination import eliminate
from hf_transfer_kit.selection.finetuning.found_depths import with_found_depths
from hf_transfer_kit.selection.finetuning.head_starts import HeadStarts
from hf_transfer_kit.selection.finetuning.running import Run, of_task, race_facts, run_strategy, to_channels_last
from hf_transfer_kit.selection.finetuning.soup import SOUP, SUMMARY, Ingredient, make_soup
from hf_transfer_kit.selection.finetuning.summaries import summarize
from hf_transfer_kit.selection.finetuning.task_judging import judging_of
from hf_transfer_kit.selection.finetuning.task_losses import check_task_fits
from hf_transfer_kit.selection.strategies import Strategy
from hf_transfer_kit.selection.strategies.specification import make_strategy, strategy_text
from hf_transfer_kit.values import DepthSearch, Elimination, FailedRun, RunFigures, StrategyResult, Verdict


@dataclass(frozen=True)
class Comparison(Outcome):
    """The outcome of a race.

    Args:
        results: One entry a strategy, in the order given.
        winner: Text of the strategy with the best mean metric on validation.
        verdict: Whether transfer helped against from-scratch; None when from-scratch did not run.
        model: The winner's model, of the run with the best validation accuracy.
        model_metrics: That model's metrics on the test split.
        true: Label of each test row, of shape (rows,), of several labels a row or words (rows, ...).
        predicted: What that model says of each test row, likewise.
        probabilities: Of the class that it names, for each test row, of shape (rows,); None of other tasks.
        learning_rate: The rate the winner was trained with.
        depth_searches: One for each strategy whose depth was to be found (``freeze_first:auto``).
        eliminated: Strategies that were given up after short runs.
        tested: Strategy -> the metric that was chosen by, of each run on the test rows.
        rates: Parameter's name in ``model`` -> highest rate that it learned with; empty where that is not known.
        failed: Runs that were given up; their strategies are not among the results.
        runs: Every figure of every run.
        soup: What came of mixing the runs' weights, a sentence; empty where nothing was mixed.
    """

    results: tuple[StrategyResult, ...]
    winner: str
    verdict: Verdict | None
    model: PreTrainedModel
    model_metrics: dict[str, float]
    true: np.ndarray
    predicted: np.ndarray
    learning_rate: float
    depth_searches: tuple[DepthSearch, ...] = ()
    eliminated: tuple[Elimination, ...] = ()
    tested: Mapping[str, Sequence[RowMetric]] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)
    probabilities: np.ndarray | None = None
    failed: tuple[FailedRun, ...] = ()
    runs: tuple[RunFigures, ...] = ()
    soup: str = ""

    @property
    def chosen_candidate(self) -> str:
        """The winner."""
        return self.winner

    def sentences(self) -> tuple[str, ...]:
        """The verdict, what was mixed, and what was given up before the race."""
        verdict = (self.verdict.sentence,) if self.verdict else ()
        return (*verdict, *filter(None, [self.soup]), *(each.sentence for each in self.eliminated))

    def result(self, strategy: str) -> StrategyResult:
        """The result of one strategy by its text."""
        return next(result for result in self.results if result.strategy == strategy)


@checked_arguments()
def compare_strategies(
    make_model: Callable[[int], PreTrainedModel],
    data: PreparedData,
    strategies: Sequence[str | Strategy],
    args: TrainingArguments,
    budget: Budget,
    *,
    seeds: Sequence[int] = (0,),
    callbacks: Callable[[str, int], Sequence[TrainerCallback]] | None = None,
    on_result: Callable[[StrategyResult], None] | None = None,
    caches: PrefixCaches | None = None,
    reduction_factor: int | None = None,
    store: RunStore | None = None,
    executor: Executor | None = None,
    soup: bool = False,
) -> Comparison:
    """Runs every strategy with every seed under one budget: same steps, same data order, same evaluations.

    Under a budget with patience or minutes each run goes on until its validation metric has flattened (``UntilFlat``);
    what is compared at equal steps before (``reduction_factor``, a depth that is searched for) does at most the usual
    300.

    Selection reads the validation split only: the mean of the task's metric in its direction (``judging_of``; accuracy
    of classes by default), the lower mean loss where that is equal. Whether transfer helped is judged on the test split
    by a paired bootstrap of that metric's difference to ``from_scratch``. Tasks are ``classification``, ``regression``,
    ``multi_label``, ``token_classification`` and ``ctc`` (``data.task_type``).
    A strategy whose depth is to be found (``freeze_first:auto``) runs with the depth that a search gives.

    Args:
        make_model: Seed -> freshly loaded pretrained model with a fresh head.
        data: Prepared splits and their collator.
        strategies: Strategies or their texts, at least one, none twice.
        args: Arguments for the stock Trainer; see ``run_arguments`` for what the race sets itself.
        budget: What each run may spend.
        seeds: One run each, at least one, none twice.
        callbacks: Strategy text and seed -> callbacks for that run's Trainer, such as a progress line.
        on_result: Called with each strategy's result when its runs have ended.
        caches: Gives strategies with frozen first layers what these give, computed once for all their runs.
        reduction_factor: Successive halving: short runs first, and one strategy in ``reduction_factor`` goes on; None
            runs all in full.
        store: Where finished runs are kept and taken from; None keeps none.
        executor: Who does the runs, several at once; None does one after another in this process.
        soup: Whether the mean of the runs' weights takes part too (``make_soup``). It wins where it is better on
            validation than the best single run, with which it begins; until then all runs' networks are kept.

    Raises:
        NotFiniteError: When every strategy broke.
        SettingsError: When strategies or seeds are missing or repeated, or an option does not fit the model; always
            before the first run.

    Example:
        >>> found = compare_strategies(make_model, data, ["head_only", "full"], args, budget, seeds=[0])
        >>> [result.strategy for result in found.results]
        ['head_only', 'full']
        >>> found.winner in ("head_only", "full")
        True
    """
    racing: Sequence[Strategy] = [make_strategy(strategy) for strategy in strategies]
    texts = [strategy_text(strategy) for strategy in racing]
    check_entries("strategies", texts, seeds)
    judging = judging_of(data)
    make_model = _told(make_model, data)
    model, heads = make_model(seeds[0]), HeadStarts(data)
    validate_strategies(racing, model, data)
    options = caches.search_options if caches else {}
    racing, searches = with_found_depths(
        racing, make_model, data, args, budget, seeds=seeds, callbacks=callbacks, store=store, **options
    )
    racing = heads.settled(racing, model)
    contest = Contest(Run, args, budget, store, executor, facts=cache(partial(race_facts, make_model, data, seeds[0])))
    attach = caches.attach if caches else None
    eliminated: tuple[Elimination, ...] = ()
    if reduction_factor is not None:
        racing, eliminated = eliminate(
            racing,
            make_model,
            data,
            contest,
            reduction_factor=reduction_factor,
            seed=seeds[0],
            callbacks=callbacks,
            attach=attach,
            heads=heads,
        )
    texts = [strategy_text(strategy) for strategy in racing]

    def train(strategy: Strategy, text: str, seed: int) -> Run:
        extra = tuple(callbacks(text, seed)) if callbacks else ()
        run = run_strategy(
            strategy, make_model, data, args, budget, seed=seed, callbacks=extra, attach=attach, heads=heads
        )
        return replace(run, cache_note=caches.take_note()) if caches else run

    candidates = [
        Candidate(
            text,
            partial(train, strategy, text),
            partial(_before_training, strategy, make_model, data),
            {"head": strategy.head},
        )
        for strategy, text in zip(racing, texts, strict=True)
    ]
    contest.announce(candidates, seeds)
    results, tested, entered = [], {}, []
    best: tuple[Strategy, Candidate[Run], Run] | None = None
    best_score = (-np.inf, -np.inf)
    for strategy, text, candidate in zip(racing, texts, candidates, strict=True):
        runs = contest.runs(candidate, seeds)
        if runs is None:
            continue
        if caches:
            caches.remember(runs[0].cache_note)
        result = summarize(text, strategy.summary, runs, judging)
        results.append(result)
        tested[text] = [judging.by_row(run.predicted, run.true) for run in runs]
        score = judging.score(result.validation)
        if score > best_score:
            best_score = score
            best = strategy, candidate, max(runs, key=lambda run: judging.score(run.validation))
        if on_result:
            on_result(result)
        entered += [Ingredient(strategy, candidate, run) for run in runs if soup]
    if best is None:
        contest.check()

    strategy, candidate, run = cast(tuple[Strategy, Candidate[Run], Run], best)
    run, winner = contest.whole(candidate, run.seed, run), strategy_text(strategy)
    transferring = [text for text, s in zip(texts, racing, strict=True) if s.pretrained and text in tested]
    made = make_soup(entered, contest, make_model, data, args, budget, judging) if soup else None
    contest.finished((candidate.text, run.seed), *([(SOUP, made.run.seed)] if made else []))
    if made is not None and made.is_mixed:
        results.append(summarize(SOUP, SUMMARY, [made.run], judging))
        tested[SOUP] = [judging.by_row(made.run.predicted, made.run.true)]
        transferring.append(SOUP)
        if on_result:
            on_result(results[-1])
        if judging.score(made.run.validation) > judging.score(run.validation):
            strategy, run, winner = made.best.strategy, made.run, SOUP
    return Comparison(
        results=tuple(results),
        winner=winner,
        verdict=judge_transfer(results, tested, winner=winner, transferring=transferring, metric=judging.metric),
        model=cast(PreTrainedModel, run.model),
        model_metrics=run.test,
        true=run.true,
        predicted=run.predicted,
        probabilities=run.probabilities,
        learning_rate=budget.rate(data.reads, strategy.rate_kind),
        depth_searches=searches,
        eliminated=eliminated,
        tested=tested,
        rates=run.rates,
        failed=tuple(contest.failed),
        runs=tuple(contest.ran),
        soup=made.sentence if made else "",
    )


def _before_training(
    strategy: Strategy, make_model: Callable[[int], PreTrainedModel], data: PreparedData, seed: int
) -> PreTrainedModel:
    return to_channels_last(strategy.prepare_model(make_model(seed), seed=seed), data)


def single_run(strategy: Strategy, run: Run, data: PreparedData, *, learning_rate: float) -> Comparison:
    """One run of one strategy on ``data`` as a comparison without a contender; there is no verdict.

    Example:
        >>> strategy = make_strategy("head_only")
        >>> run = run_strategy(strategy, make_model, data, args, budget, seed=0)
        >>> single_run(strategy, run, data, learning_rate=0.01).winner
        'head_only'
    """
    text, judging = strategy_text(strategy), judging_of(data)
    return Comparison(
        results=(summarize(text, strategy.summary, [run], judging),),
        winner=text,
        verdict=None,
        model=cast(PreTrainedModel, run.model),
        model_metrics=run.test,
        true=run.true,
        predicted=run.predicted,
        probabilities=run.probabilities,
        learning_rate=learning_rate,
        tested={text: [judging.by_row(run.predicted, run.true)]},
        rates=run.rates,
    )


def _told(make_model: Callable[[int], PreTrainedModel], data: PreparedData) -> Callable[[int], PreTrainedModel]:
    """The same models, of which a row of the data tells the order of layers where nothing else does."""

    def make(seed: int) -> PreTrainedModel:
        model = make_model(seed)
        learn_inputs(model, lambda: data.collator([data.validation[0]]))
        return of_task(model, data)

    return make


def validate_strategies(
    strategies: Sequence[Strategy], model: PreTrainedModel, data: PreparedData | None = None
) -> None:
    """Raises SettingsError when a strategy, or an option of it, does not fit the model or, where given, the task.

    Example:
        >>> validate_strategies([make_strategy("freeze_first:k=9")], model)
        Traceback (most recent call last):
            ...
        hf_transfer_kit.errors.SettingsError: freeze_first:k=9 is out of range: this model has 3 layer ...
    """
    groups = layer_groups(model)
    if data is not None:
        check_window(model, data.processor)
        judging_of(data)
        check_task_fits(model, data)
    for strategy in strategies:
        strategy.check_head()
        if data is not None:
            strategy.check_task(data.task_type)
            if strategy.searched and data.task_type != CLASSIFICATION:
                raise SettingsError(
                    f"{strategy_text(strategy)}: a depth is searched for by shares of rows that are right, which "
                    f"{data.task_type} does not have. Give a number, such as {strategy.name}:k=2."
                )
        strategy.validate(groups)
        strategy.check_model(model)
    if data is not None:
        HeadStarts(data).settled([strategy for strategy in strategies if strategy.begins_solved], model)
