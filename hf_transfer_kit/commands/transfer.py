"""Measure, compare, transfer: which way to carry a pretrained network to your data, and whether it helps at all.

    hf-transfer run --model_name_or_path MODEL --dataset DATASET

Runs every strategy under one budget, chooses on the validation split, judges on the test split against training from
scratch, and writes the report, a model card, the settings and the winner's model to --output_dir. Without arguments
it trains a small source network on scikit-learn's digits and transfers it to 100 labelled digits on photographs.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from hf_transfer_kit.commands.edge.places import checked_output
from hf_transfer_kit.commands.edge.settings import command_line, parse_arguments, resolved_config
from hf_transfer_kit.commands.edge.sharing import Sharing
from hf_transfer_kit.commands.edge.sign_of_life import stage
from hf_transfer_kit.commands.edge.watched import Watched
from hf_transfer_kit.commands.flags.arguments import (
    BalanceArguments,
    CacheArguments,
    PageArguments,
    TaskDataArguments,
    uses_embedded_example,
)
from hf_transfer_kit.commands.flags.network_arguments import KeptModelArguments
from hf_transfer_kit.commands.flags.run_arguments import RaceTrainingArguments
from hf_transfer_kit.data import LoadedData
from hf_transfer_kit.hub import check_saved, save_results
from hf_transfer_kit.reports import (
    RunFacts,
    budget_sentence,
    comparison_report,
    described_data,
    race_lengths,
    strategy_table,
    verdict_lines,
)
from hf_transfer_kit.selection import (
    STRATEGIES,
    OtherSource,
    check_sources,
    compare_sources,
    compare_strategies,
    make_strategy,
    validate_strategies,
)
from hf_transfer_kit.selection.finetuning.task_judging import judging_of


@dataclass
class RaceArguments:
    """Who runs in the race."""

    strategies: list[str] = field(
        default_factory=lambda: ["head_only", "freeze_first", "small_lr", "full", "from_scratch"],
        metadata={
            "help": f"Of {', '.join(STRATEGIES)}; options after a colon: freeze_first:k=3 freeze_first:auto "
            "small_lr:factor=0.01."
        },
    )
    seeds: list[int] = field(default_factory=lambda: [0], metadata={"help": "One run of each strategy a seed."})
    reduction_factor: int | None = field(
        default=None,
        metadata={"help": "Short runs first, one strategy in so many goes on; default: all run in full."},
    )
    soup: bool = field(
        default=False,
        metadata={"help": "The mean of the runs' weights takes part too, chosen run by run on validation rows."},
    )
    other_sources: list[str] = field(
        default_factory=list,
        metadata={"help": "Other pretrained networks: each runs the same race, and its best is judged beside yours."},
    )

    def others(
        self,
        model_args: KeptModelArguments,
        data_args: TaskDataArguments,
        cache_args: CacheArguments,
        judged: dict[str, object],
        args,
        loaded: LoadedData,
    ) -> list[OtherSource]:
        """The other networks, each with the same rows as it reads them."""
        found = []
        for name in self.other_sources:
            other = replace(model_args, model_name_or_path=name, model_revision=None)
            make_model = other.model_maker(loaded)
            with args.main_process_first():
                data = data_args.prepare(loaded, other.processor(make_model(self.seeds[0])))
                data = replace(data, **judged)
            make_model = other.fitted(make_model, data)
            found.append(OtherSource(other.display_name, make_model, data, cache_args.caches(data, args)))
        return found


FLAGS = (
    KeptModelArguments,
    TaskDataArguments,
    RaceArguments,
    CacheArguments,
    BalanceArguments,
    PageArguments,
    RaceTrainingArguments,
)
"""Dataclasses of its flags."""


def main() -> None:
    started = time.perf_counter()
    model_args, data_args, race_args, cache_args, balance_args, page_args, args = parse_arguments(
        *FLAGS, recipe="transfer"
    )
    checked_output(args, model_args, data_args, race_args)
    judged = balance_args.of_task(data_args.task_type)
    sharing = Sharing(args, model_args.base_model)
    strategies = [make_strategy(text) for text in race_args.strategies]
    if uses_embedded_example(model_args, data_args, args) and race_args.seeds == [0]:
        race_args.seeds = [0, 1, 2]

    with args.main_process_first():
        loaded = data_args.load()
    make_model = model_args.model_maker(loaded)
    model = make_model(race_args.seeds[0])
    validate_strategies(strategies, model)
    processor = model_args.processor(model)
    with args.main_process_first():
        data = replace(data_args.prepare(loaded, processor), **judged)
    make_model = model_args.probed(make_model, loaded, data, args, cache_dir=cache_args.cache_dir)
    metric = judging_of(data).metric
    budget = args.budget(len(data.train), data.modality)
    caches = cache_args.caches(data, args)
    others = race_args.others(model_args, data_args, cache_args, judged, args, loaded)
    if others:
        check_sources(model_args.display_name, others, strategies, seed=race_args.seeds[0])
    store = args.run_store(
        stored_dtype=model_args.stored_dtype, cache=[cache_args.cache_dtype, cache_args.cache_budget]
    )
    prepared_at = time.perf_counter()

    first = args.should_save
    if first:
        print(f"{loaded.name}: {loaded.sizes()}, {len(loaded.label_names)} classes; {budget_sentence(budget)}.")
    watched = Watched(
        "transfer",
        [*race_args.strategies, *(other.name for other in others)],
        model_args,
        args,
        title=f"{model_args.display_name} on {loaded.name}",
        dataset_name=loaded.name,
        data=described_data(loaded, data),
        seeds=race_args.seeds,
        budget=budget,
        runs=len(strategies) * len(race_args.seeds) * (1 + len(others)),
        metric=metric,
    )
    with args.run_executor() as executor:
        stage("Training and comparing")
        comparison = compare_strategies(
            make_model,
            data,
            strategies,
            args,
            budget,
            seeds=race_args.seeds,
            callbacks=watched.callbacks,
            on_result=lambda result: watched.done(result.strategy, result.validation),
            caches=caches,
            reduction_factor=race_args.reduction_factor,
            store=store,
            executor=executor,
            soup=race_args.soup,
        )
        sources = ()
        if others:
            stage("Training and comparing")
            sources = compare_sources(
                comparison,
                model_args.display_name,
                others,
                strategies,
                args,
                budget,
                seeds=race_args.seeds,
                callbacks=watched.callbacks,
                on_result=lambda result: watched.done(result.source, result.result.validation),
                reduction_factor=race_args.reduction_factor,
                store=store,
                executor=executor,
            )
    raced = {result.strategy: result for result in comparison.results}
    raced |= {f"{source.source}, {source.result.strategy}": source.result for source in sources}
    lengths = race_lengths(raced, budget, chosen_by_user=args.names_steps, validation_rows=len(data.validation))
    facts = RunFacts(
        model_name=model_args.display_name,
        budget=budget,
        seed=race_args.seeds[0],
        command=command_line(),
        seconds={"total": time.perf_counter() - started, "preparation": prepared_at - started},
        notes=(
            *map(str, comparison.failed),
            *lengths,
            *filter(None, [comparison.soup]),
            *(entry.sentence for entry in comparison.eliminated),
            *caches.notes,
        ),
    )
    report = comparison_report(
        comparison,
        facts,
        data=loaded,
        prepared=data,
        other_sources=sources,
        examples=page_args.examples,
    )
    if first:
        print(*map(str, comparison.failed), *(search.sentence for search in comparison.depth_searches), sep="\n")
        print(strategy_table(report), *verdict_lines(report), *lengths, *filter(None, [comparison.soup]), sep="\n")
        for source in sources:
            print(source.verdict.sentence)
        config = resolved_config(model_args, data_args, race_args, cache_args, balance_args, page_args, args)
        stage("Writing the report, the card and the model")
        save_results(
            args.output_dir,
            replace(report, runs=comparison.runs),
            comparison.model,
            data.raw_inputs,
            config,
            base_model=model_args.base_model,
            datasets=[data_args.dataset],
            watt_hours=sharing.energy.watt_hours(),
            dtype=model_args.stored_dtype,
            **args.card,
        )
        stage("Reading back what was saved")
        check_saved(args.output_dir, comparison.model, loaded, data)
        print(f"The report is {Path(args.output_dir) / 'report.html'}.")
    sharing.push()
