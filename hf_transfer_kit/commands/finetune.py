"""One strategy on one dataset.

    hf-transfer finetune --strategy freeze_first:k=3 --model_name_or_path MODEL --dataset DATASET

A plain Trainer script: every TrainingArguments flag works, checkpoints and --resume_from_checkpoint among them. Writes
the report, a model card, the settings and the model to --output_dir. Without arguments it fine-tunes a small network
that learned scikit-learn's digits on 100 labelled digits on photographs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

from transformers import PreTrainedModel

from hf_transfer_kit.commands.edge.places import checked_output
from hf_transfer_kit.commands.edge.resuming import check_named, resume_point
from hf_transfer_kit.commands.edge.settings import (
    command_line,
    parse_arguments,
    resolved_config,
    typed,
)
from hf_transfer_kit.commands.edge.sharing import Sharing
from hf_transfer_kit.commands.edge.sign_of_life import stage
from hf_transfer_kit.commands.flags.arguments import (
    BalanceArguments,
    CacheArguments,
    PageArguments,
    TaskDataArguments,
    uses_embedded_example,
)
from hf_transfer_kit.commands.flags.growing_arguments import GrowingArguments, GrowingRun
from hf_transfer_kit.commands.flags.network_arguments import KeptModelArguments
from hf_transfer_kit.commands.flags.run_arguments import OneRunArguments
from hf_transfer_kit.commands.flags.strategy_arguments import StrategyArguments, evaluated
from hf_transfer_kit.commands.flags.stream_arguments import HeldStream, TrainingStreamArguments
from hf_transfer_kit.data import LoadedData, PreparedData
from hf_transfer_kit.data.label_kinds import CLASSIFICATION
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.hub import KeepReport, check_saved, save_results, started_report
from hf_transfer_kit.reports import (
    RunFacts,
    TransferReport,
    comparison_report,
    growing_table,
    located,
    race_lengths,
    strategy_table,
    suspected_lines,
)
from hf_transfer_kit.selection import (
    Budget,
    ProgressLine,
    Strategy,
    finished_run,
    make_strategy,
    make_trainer,
    readable_data,
    recommend,
    single_run,
    strategy_text,
    validate_strategies,
    with_found_depths,
)
from hf_transfer_kit.selection.finetuning.caching import PrefixCaches
from hf_transfer_kit.selection.finetuning.head_starts import HeadStarts
from hf_transfer_kit.selection.finetuning.open_runs import looked_at_some, until_flat
from hf_transfer_kit.selection.finetuning.running import Run, of_task, to_channels_last
from hf_transfer_kit.selection.finetuning.task_judging import judging_of
from hf_transfer_kit.tuning import GuardCheckpoints, RestoreWeights
from hf_transfer_kit.values.advice import SuspectedLabel
from hf_transfer_kit.values.depths import DepthSearch


class _Flags(NamedTuple):
    """What was typed."""

    model: KeptModelArguments
    data: TaskDataArguments
    stream: TrainingStreamArguments
    strategy: StrategyArguments
    growing: GrowingArguments
    cache: CacheArguments
    balance: BalanceArguments
    page: PageArguments
    args: OneRunArguments

    @property
    def advised(self) -> bool:
        """Whether the strategy is to be what the data suggests."""
        return self.strategy.strategy == "auto"

    def checked_strategy(self) -> Strategy:
        """The strategy, ``full`` in place of one that is to be advised; flags that do not go together are refused."""
        model, data, advised = self.model, self.data, self.advised
        strategy = make_strategy("full" if advised else self.strategy.strategy)
        if data.task_type != CLASSIFICATION and (advised or self.growing.kept):
            what = "--strategy auto" if advised else "--old_classes kept"
            raise SettingsError(f"{what} is for classification, and --task_type is {data.task_type}. Leave it out.")
        if self.stream.streaming or self.growing.kept:
            model.refuse_probe("for streams" if self.stream.streaming else "for --old_classes kept")
        if self.stream.streaming:
            self.stream.check(strategy, data.task_type, self.args, advised=advised)
        return strategy


FLAGS = tuple(get_type_hints(_Flags).values())
"""Dataclasses of its flags."""


@dataclass
class _Ready:
    """The rows, and the network that is to learn them."""

    loaded: LoadedData
    data: PreparedData
    make_model: Callable[[int], PreTrainedModel]
    model: PreTrainedModel
    growing: GrowingRun | None
    stream: HeldStream | None

    @property
    def training_rows(self) -> int:
        """How many there are; 0 of a stream."""
        return 0 if self.stream else len(self.data.train)


@dataclass
class _Plan:
    """How it learns them, and why so."""

    strategy: Strategy
    budget: Budget
    heads: HeadStarts
    caches: PrefixCaches
    chosen_by_user: bool
    reasons: tuple[str, ...] = ()
    suspected: tuple[SuspectedLabel, ...] = ()
    searches: tuple[DepthSearch, ...] = ()


@dataclass
class _Trained:
    """What came of it."""

    run: Run
    facts: RunFacts
    before: Any


def main() -> None:
    started = time.perf_counter()
    flags = _Flags(*parse_arguments(*FLAGS, recipe="finetune"))
    args = flags.args
    checked_output(args, flags.model, flags.data, flags.growing)
    check_named(args.resume_from_checkpoint)
    judged = flags.balance.of_task(flags.data.task_type)
    sharing = Sharing(args, flags.model.base_model)
    strategy = flags.checked_strategy()
    uses_embedded_example(flags.model, flags.data, args)
    ready = _prepared(flags, strategy, judged)
    plan = _planned(flags, strategy, ready)
    trained = _trained(flags, ready, plan)
    report, said = _reported(flags, ready, plan, trained, seconds=time.perf_counter() - started)
    if args.should_save:
        print(*said, sep="\n")
        stage("Writing the report, the card and the model")
        save_results(
            args.output_dir,
            report,
            trained.run.model,
            ready.data.raw_inputs,
            resolved_config(*flags),
            base_model=flags.model.base_model,
            datasets=[flags.data.dataset, *filter(None, [flags.growing.replay])],
            watt_hours=sharing.energy.watt_hours(),
            dtype=flags.model.stored_dtype,
            **args.card,
        )
        stage("Reading back what was saved")
        check_saved(args.output_dir, trained.run.model, ready.loaded, ready.data)
        print(f"The report is {Path(args.output_dir) / 'report.html'}.")
    sharing.push()


def _prepared(flags: _Flags, strategy: Strategy, judged: Mapping[str, Any]) -> _Ready:
    """Loads rows and network, each fitted to the other."""
    model_args, data_args, args = flags.model, flags.data, flags.args
    growing: GrowingRun | None = None
    stream: HeldStream | None = None
    with args.main_process_first():
        stream = flags.stream.hold(data_args, args) if flags.stream.streaming else None
        loaded = stream.loaded if stream else data_args.load()
        if flags.growing.kept:
            growing = flags.growing.grow(model_args, data_args, flags.balance, loaded, seed=args.seed)
            growing.check(strategy, advised=flags.advised)
            loaded, judged = growing.loaded, {"balance": growing.balance}
    make_model = growing.model_maker() if growing else model_args.model_maker(loaded)
    model = make_model(args.seed)
    processor = model_args.processor(model)
    validate_strategies([strategy], model)
    with args.main_process_first():
        if stream:
            prepared = stream.prepare(data_args, processor, seed=args.seed)
        else:
            prepared = growing.prepare(data_args, processor) if growing else data_args.prepare(loaded, processor)
        data = replace(prepared, **judged)
    told = model_args.probed(make_model, loaded, data, args, cache_dir=flags.cache.cache_dir)
    if told is not make_model:
        make_model, model = told, told(args.seed)
    validate_strategies([strategy], model, data)
    return _Ready(loaded, data, make_model, model, growing, stream)


def _planned(flags: _Flags, strategy: Strategy, ready: _Ready) -> _Plan:
    """Settles strategy, budget and rate, which the arguments hold from here on."""
    args, data, model = flags.args, ready.data, ready.model
    heads = HeadStarts(replace(data, train=data.train.sample) if ready.stream else data)
    budget = args.budget(ready.training_rows, data.modality)
    plan = _Plan(strategy, budget, heads, flags.cache.caches(data, args), chosen_by_user=args.names_steps)
    if flags.advised:
        stage("Measuring the data")
        found = recommend(model, data, budget=budget.of_known_length(), seed=args.seed, cache_dir=flags.cache.cache_dir)
        flags.strategy.strategy, plan.strategy = found.strategy, make_strategy(found.strategy)
        plan.reasons, plan.suspected = found.reasons, found.measures.suspected
    (plan.strategy,), plan.searches = with_found_depths(
        [plan.strategy],
        ready.make_model,
        data,
        args,
        budget,
        seeds=range(args.seed, args.seed + 3),
        callbacks=lambda text, seed: [ProgressLine(f"search: {text}, seed {seed}")],
        **plan.caches.search_options,
    )
    if not ready.growing:  # whose head knows its old classes
        (plan.strategy,) = heads.settled([plan.strategy], model)
    args.max_steps, args.num_train_epochs = budget.max_steps, 0.0
    args.learning_rate = budget.rate(data.reads, plan.strategy.rate_kind)
    return plan


def _trained(flags: _Flags, ready: _Ready, plan: _Plan) -> _Trained:
    """Trains, or goes on where a run was cut."""
    args, data, growing, strategy, budget = flags.args, ready.data, ready.growing, plan.strategy, plan.budget
    facts = {
        "strategy": strategy_text(strategy),
        "network": flags.model.display_name,
        "dataset": ready.loaded.name,
        "classes": len(data.label_names),
        "training rows": "a stream" if ready.stream else ready.training_rows,
        "seed": args.seed,
        "learning rate": args.learning_rate,
        "rows a step": budget.batch_size,
    }
    resume = resume_point(args, facts, of_known_length=not budget.is_open)
    model = to_channels_last(of_task(ready.model, data), data)
    if resume:
        model = plan.heads.begin_again(strategy, model, resume)
    else:
        model = plan.heads.begin(strategy, model, args.device)
    model = strategy.prepare_model(model, seed=args.seed)
    progress = ProgressLine(flags.strategy.strategy, metric=judging_of(data).metric)
    known = RunFacts(
        model_name=flags.model.display_name,
        budget=budget,
        learning_rate=args.learning_rate,
        seed=args.seed,
        command=command_line(),
    )
    started_as = started_report(strategy_text(strategy), model, known, data=ready.loaded, prepared=data)
    kept = KeepReport(started_as, base_model=flags.model.base_model, overwrite=args.overwrite_output_dir)
    guard = GuardCheckpoints(facts, overwrite=args.overwrite_output_dir)
    began = time.perf_counter()
    before = growing.before(data, args) if growing else None
    # What an old network says beside the new one it says of inputs, not of what frozen layers made of them, and rows
    # of a stream come once.
    attach = None if growing or ready.stream else plan.caches.attach
    keeping = growing.callbacks() if growing else ()
    with readable_data(strategy, model, data, attach) as rows:
        until = until_flat(data, budget)
        parts = (
            *(RestoreWeights(resume), guard, *keeping, *plan.heads.callbacks(), *flags.model.rounding()),
            *(progress, kept, until),
        )
        looked_at = evaluated(args, budget, typed())
        trainer = make_trainer(strategy, model, rows, looked_at, batch_size=budget.batch_size, callbacks=parts)
        stage("Training")
        with looked_at_some(trainer, budget):
            trainer.train(resume_from_checkpoint=resume)
        run = finished_run(trainer, rows, seed=args.seed, seconds=time.perf_counter() - began)
    return _Trained(replace(run, ended=until.ended), known, before)


def _reported(
    flags: _Flags, ready: _Ready, plan: _Plan, trained: _Trained, *, seconds: float
) -> tuple[TransferReport, list[str]]:
    """The report, and what of it the console says."""
    growing, run, budget = ready.growing, trained.run, plan.budget
    alone = single_run(plan.strategy, run, ready.data, learning_rate=flags.args.learning_rate)
    lengths = race_lengths(
        {alone.winner: alone.results[0]},
        budget,
        chosen_by_user=plan.chosen_by_user,
        validation_rows=len(ready.data.validation),
    )
    known = replace(
        trained.facts,
        seconds={"total": seconds},
        notes=(
            "One strategy was run, without a baseline: hf-transfer run tells whether transfer helps.",
            *lengths,
            *plan.reasons,
            *plan.caches.notes,
            *(growing.notes if growing else ()),
            *(ready.stream.notes if ready.stream else ()),
        ),
    )
    report = comparison_report(
        replace(alone, depth_searches=plan.searches),
        known,
        data=ready.loaded,
        prepared=ready.data,
        recipe="finetune",
        behind=growing.replayed if growing else None,
        examples=flags.page.examples,
    )
    tables = []
    if growing:
        outcome = growing.outcome(run, trained.before)
        report = replace(report, growing=outcome, data={**report.data, **growing.described()})
        tables = [growing_table(outcome)]
    report = replace(report, suspected=located(plan.suspected, ready.loaded))
    said = [
        *suspected_lines(plan.suspected, ready.loaded),
        *lengths,
        *plan.reasons,
        *(search.sentence for search in plan.searches),
        strategy_table(report),
        *tables,
    ]
    return report, said
