"""One strategy on one dataset.

    hf-transfer finetune --strategy freeze_first:k=3 --model_name_or_path MODEL --dataset DATASET

A plain Trainer script: every TrainingArguments flag works, checkpoints and --resume_from_checkpoint among them. Writes
the report, a model card, the settings and the model to --output_dir. Without arguments it fine-tunes a small network
that learned scikit-learn's digits on 100 labelled digits on photographs.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

from transformers import IntervalStrategy

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
from hf_transfer_kit.commands.flags.growing_arguments import GrowingArguments
from hf_transfer_kit.commands.flags.network_arguments import KeptModelArguments
from hf_transfer_kit.commands.flags.run_arguments import KitTrainingArguments, OneRunArguments
from hf_transfer_kit.commands.flags.stream_arguments import TrainingStreamArguments
from hf_transfer_kit.data.label_kinds import CLASSIFICATION
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.hub import KeepReport, check_saved, save_results, started_report
from hf_transfer_kit.reports import (
    RunFacts,
    comparison_report,
    growing_table,
    located,
    race_lengths,
    strategy_table,
    suspected_lines,
)
from hf_transfer_kit.selection import (
    STRATEGIES,
    Budget,
    ProgressLine,
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
from hf_transfer_kit.selection.finetuning.head_starts import HeadStarts
from hf_transfer_kit.selection.finetuning.open_runs import looked_at_some, until_flat
from hf_transfer_kit.selection.finetuning.running import of_task, to_channels_last
from hf_transfer_kit.selection.finetuning.task_judging import judging_of
from hf_transfer_kit.tuning import GuardCheckpoints, RestoreWeights


@dataclass
class StrategyArguments:
    """How to transfer."""

    strategy: str = field(
        default="full",
        metadata={
            "help": f"One of {', '.join(STRATEGIES)}; options after a colon: freeze_first:k=3, freeze_first:auto. Or "
            "auto, which takes what recommend advises.",
            "aliases": ["--strategies"],
        },
    )


def evaluated(args: KitTrainingArguments, budget: Budget, typed: Collection[str]) -> KitTrainingArguments:
    """The arguments with the evaluations that --evaluations asks for, where no flag of Trainer's asks for others.

    Args:
        args: As parsed.
        budget: Says how many steps lie between two of them.
        typed: Fields that the user gave.

    Raises:
        SettingsError: When both --evaluations and a flag of Trainer's say when, or the run is to end by figures that it
            does not look at.
    """
    own = [name for name in ("eval_strategy", "eval_steps") if name in typed]
    if own and "evaluations" in typed:
        raise SettingsError(f"--evaluations and --{own[0]} both say when the run is looked at: leave one out.")
    if budget.patience and "eval_strategy" in own and args.eval_strategy == IntervalStrategy.NO:
        raise SettingsError(
            "--eval_strategy no never looks at the score by which the run is to end. Leave it out, or say how long it "
            "is (--max_steps, --num_train_epochs) and leave --patience out."
        )
    args = copy.copy(args)
    if "eval_strategy" not in own:
        args.do_eval, args.eval_strategy = True, IntervalStrategy.STEPS
        args.eval_steps = args.eval_steps if own else budget.eval_steps
    if not {"logging_strategy", "logging_steps"} & set(typed):
        args.logging_steps = min(args.logging_steps, budget.eval_steps)  # losses beside the evaluations' figures
    return args


FLAGS = (
    KeptModelArguments,
    TaskDataArguments,
    TrainingStreamArguments,
    StrategyArguments,
    GrowingArguments,
    CacheArguments,
    BalanceArguments,
    PageArguments,
    OneRunArguments,
)
"""Dataclasses of its flags."""


def main() -> None:
    started = time.perf_counter()
    model_args, data_args, stream_args, strategy_args, growing_args, cache_args, balance_args, page_args, args = (
        parse_arguments(*FLAGS, recipe="finetune")
    )
    checked_output(args, model_args, data_args, growing_args)
    check_named(args.resume_from_checkpoint)
    judged = balance_args.of_task(data_args.task_type)
    sharing = Sharing(args, model_args.base_model)
    advised = strategy_args.strategy == "auto"
    strategy = make_strategy("full" if advised else strategy_args.strategy)
    if data_args.task_type != CLASSIFICATION and (advised or growing_args.kept):
        what = "--strategy auto" if advised else "--old_classes kept"
        raise SettingsError(f"{what} is for classification, and --task_type is {data_args.task_type}. Leave it out.")
    if stream_args.streaming or growing_args.kept:
        model_args.refuse_probe("for streams" if stream_args.streaming else "for --old_classes kept")
    if stream_args.streaming:
        stream_args.check(strategy, data_args.task_type, args, advised=advised)
    uses_embedded_example(model_args, data_args, args)
    growing = stream = None
    with args.main_process_first():
        stream = stream_args.hold(data_args, args) if stream_args.streaming else None
        loaded = stream.loaded if stream else data_args.load()
        if growing_args.kept:
            growing = growing_args.grow(model_args, data_args, balance_args, loaded, seed=args.seed)
            growing.check(strategy, advised=advised)
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
    told = model_args.probed(make_model, loaded, data, args, cache_dir=cache_args.cache_dir)
    if told is not make_model:
        make_model, model = told, told(args.seed)
    validate_strategies([strategy], model, data)
    heads = HeadStarts(replace(data, train=data.train.sample) if stream else data)
    rows_to_train_on = 0 if stream else len(data.train)
    budget, chosen_by_user = args.budget(rows_to_train_on, data.modality), args.names_steps
    caches = cache_args.caches(data, args)
    reasons, suspected = (), ()
    if advised:
        stage("Measuring the data")
        found = recommend(model, data, budget=budget.of_known_length(), seed=args.seed, cache_dir=cache_args.cache_dir)
        strategy_args.strategy, strategy, reasons = found.strategy, make_strategy(found.strategy), found.reasons
        suspected = found.measures.suspected
    seeds = range(args.seed, args.seed + 3)
    (strategy,), searches = with_found_depths(
        [strategy],
        make_model,
        data,
        args,
        budget,
        seeds=seeds,
        callbacks=lambda text, seed: [ProgressLine(f"search: {text}, seed {seed}")],
        **caches.search_options,
    )
    if not growing:  # whose head knows its old classes
        (strategy,) = heads.settled([strategy], model)
    args.max_steps, args.num_train_epochs = budget.max_steps, 0.0
    args.learning_rate = budget.rate(data.reads, strategy.rate_kind)

    facts = {
        "strategy": strategy_text(strategy),
        "network": model_args.display_name,
        "dataset": loaded.name,
        "classes": len(data.label_names),
        "training rows": "a stream" if stream else rows_to_train_on,
        "seed": args.seed,
        "learning rate": args.learning_rate,
        "rows a step": budget.batch_size,
    }
    resume = resume_point(args, facts, of_known_length=not budget.is_open)
    model = to_channels_last(of_task(model, data), data)
    if resume:
        model = heads.begin_again(strategy, model, resume)
    else:
        model = heads.begin(strategy, model, args.device)
    model = strategy.prepare_model(model, seed=args.seed)
    progress = ProgressLine(strategy_args.strategy, metric=judging_of(data).metric)
    known = RunFacts(
        model_name=model_args.display_name,
        budget=budget,
        learning_rate=args.learning_rate,
        seed=args.seed,
        command=command_line(),
    )
    started_as = started_report(
        strategy_text(strategy),
        model,
        known,
        data=loaded,
        prepared=data,
    )
    kept = KeepReport(started_as, base_model=model_args.base_model, overwrite=args.overwrite_output_dir)
    guard = GuardCheckpoints(facts, overwrite=args.overwrite_output_dir)
    training_started = time.perf_counter()
    before = growing.before(data, args) if growing else None
    # What an old network says beside the new one it says of inputs, not of what frozen layers made of them, and rows
    # of a stream come once.
    attach = None if growing or stream else caches.attach
    keeping = growing.callbacks() if growing else ()
    with readable_data(strategy, model, data, attach) as rows:
        until = until_flat(data, budget)
        parts = (RestoreWeights(resume), guard, *keeping, *heads.callbacks(), *model_args.rounding(), progress, kept)
        looked_at = evaluated(args, budget, typed())
        trainer = make_trainer(
            strategy, model, rows, looked_at, batch_size=budget.batch_size, callbacks=(*parts, until)
        )
        stage("Training")
        with looked_at_some(trainer, budget):
            trainer.train(resume_from_checkpoint=resume)
        run = finished_run(trainer, rows, seed=args.seed, seconds=time.perf_counter() - training_started)

    run = replace(run, ended=until.ended)
    alone = single_run(strategy, run, data, learning_rate=args.learning_rate)
    lengths = race_lengths(
        {alone.winner: alone.results[0]}, budget, chosen_by_user=chosen_by_user, validation_rows=len(data.validation)
    )
    known = replace(
        known,
        seconds={"total": time.perf_counter() - started},
        notes=(
            "One strategy was run, without a baseline: hf-transfer run tells whether transfer helps.",
            *lengths,
            *reasons,
            *caches.notes,
            *(growing.notes if growing else ()),
            *(stream.notes if stream else ()),
        ),
    )
    report = comparison_report(
        replace(alone, depth_searches=searches),
        known,
        data=loaded,
        prepared=data,
        recipe="finetune",
        behind=growing.replayed if growing else None,
        examples=page_args.examples,
    )
    outcome = growing.outcome(run, before) if growing else None
    if growing:
        report = replace(report, growing=outcome, data={**report.data, **growing.described()})
    report = replace(report, suspected=located(suspected, loaded))
    if args.should_save:
        print(
            *suspected_lines(suspected, loaded),
            *lengths,
            *reasons,
            *(search.sentence for search in searches),
            strategy_table(report),
            *([growing_table(outcome)] if outcome else []),
            sep="\n",
        )
        config = resolved_config(
            model_args, data_args, stream_args, strategy_args, growing_args, cache_args, balance_args, page_args, args
        )
        stage("Writing the report, the card and the model")
        save_results(
            args.output_dir,
            report,
            run.model,
            data.raw_inputs,
            config,
            base_model=model_args.base_model,
            datasets=[data_args.dataset, *filter(None, [growing_args.replay])],
            watt_hours=sharing.energy.watt_hours(),
            dtype=model_args.stored_dtype,
            **args.card,
        )
        stage("Reading back what was saved")
        check_saved(args.output_dir, run.model, loaded, data)
        print(f"The report is {Path(args.output_dir) / 'report.html'}.")
    sharing.push()
