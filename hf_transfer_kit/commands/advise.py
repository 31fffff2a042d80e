"""What to transfer, and how: networks ranked for a dataset, and a plan for the best, before it is trained.

    hf-transfer advise --models MODEL OTHER --dataset DATASET

Ranks the models by what their features say of the labels, measures size and similarity, and writes plan.yaml, which
`hf-transfer finetune --config` runs unchanged, with a report of the reasons. With --trials the strategies that are
likeliest to win run for a fifth of what racing all would take, and the plan follows what both say. Without arguments
it ranks a small network that learned scikit-learn's digits and two with random weights for 100 labelled digits on
photographs.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from hf_transfer_kit.commands.edge.flag_values import check_choice
from hf_transfer_kit.commands.edge.places import checked_output
from hf_transfer_kit.commands.edge.settings import (
    command_line,
    parse_arguments,
    resolved_config,
    write_settings,
)
from hf_transfer_kit.commands.edge.sharing import refuse_push
from hf_transfer_kit.commands.edge.sign_of_life import stage
from hf_transfer_kit.commands.flags.arguments import BalanceArguments, DataArguments, uses_embedded_example
from hf_transfer_kit.commands.flags.network_arguments import ModelArguments
from hf_transfer_kit.commands.flags.run_arguments import FewRunsArguments
from hf_transfer_kit.data import load_data
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.hub import written_beside
from hf_transfer_kit.hub.output_folder import REPORT
from hf_transfer_kit.reports import RunFacts, advice_report, suspected_lines, write_report
from hf_transfer_kit.selection import measured_experience, rank_sources, recommend
from hf_transfer_kit.selection.contest.store import RunStore
from hf_transfer_kit.selection.measures.ranking import DEFAULT_SCORE
from hf_transfer_kit.selection.measures.transferability import NAMES


@dataclass
class AdviceArguments:
    """What is asked."""

    models: list[str] = field(
        default_factory=list,
        metadata={"help": "Candidates, named as in --model_name_or_path; the best gets a plan."},
    )
    by: str = field(default=DEFAULT_SCORE, metadata={"help": "Score that candidates are ranked by."})
    rank_rows: int = field(default=1_000, metadata={"help": "Training rows that candidates are ranked on."})
    source_data: str | None = field(
        default=None, metadata={"help": "Data the network was trained on: how far the dataset lies from it is told."}
    )
    unlabelled_rows: int = field(default=0, metadata={"help": "Further rows of the target without labels."})
    trials: bool = field(
        default=False,
        metadata={
            "help": "Short runs of the strategies that are likeliest to win, for a fifth of what racing all would "
            "take; the plan follows what they say together with the measured cases."
        },
    )
    cache_dir: str | None = field(default=None, metadata={"help": "Folder of the caches."})

    def __post_init__(self) -> None:
        check_choice("--by", self.by, NAMES)

    def trial_store(self, args: FewRunsArguments) -> RunStore | None:
        """Where trials that end are kept."""
        if self.trials:
            return args.run_store()
        if args.store is not None or not args.keep_runs:
            raise SettingsError("--store and --keep_runs are of trials: give --trials with them, or leave them out.")
        return None


FLAGS = (ModelArguments, DataArguments, AdviceArguments, BalanceArguments, FewRunsArguments)
"""Dataclasses of its flags."""
_OF_TRIALS = ("keep_runs", "store")
"""Settings that the plan's run has no use for."""


def main() -> None:
    started = time.perf_counter()
    model_args, data_args, advice_args, balance_args, args = parse_arguments(*FLAGS, recipe="advise")
    balance = balance_args.balance()  # refused now, not when the plan runs
    store = advice_args.trial_store(args)
    checked_output(args, model_args, data_args, advice_args, names=(*REPORT, "plan.yaml"))
    refuse_push(args, "hf-transfer finetune --config plan.yaml leaves one")
    candidates = list(dict.fromkeys([*filter(None, [model_args.model_name_or_path]), *advice_args.models]))
    if not candidates:
        uses_embedded_example(model_args, data_args, args)
        candidates = [model_args.model_name_or_path, "small_resnet", "dann_mnist"]
    if len(candidates) > 1 and model_args.model_revision is not None:
        raise SettingsError("--model_revision is of one network, and several are ranked. Name one, or leave it out.")
    loaded = data_args.load()
    preparation = {"image_size": data_args.image_size, "max_length": data_args.max_length}
    preparation |= {"max_seconds": data_args.max_seconds}
    ranking = None
    if len(candidates) > 1:
        stage("Ranking networks")
        ranking = rank_sources(
            candidates,
            loaded,
            by=advice_args.by,
            max_rows=advice_args.rank_rows,
            batch_size=args.per_device_eval_batch_size,
            seed=args.seed,
            cache_dir=advice_args.cache_dir,
            trust_remote_code=model_args.trust_remote_code,
            **preparation,
        )
        print(ranking)
    ranked_at = time.perf_counter()
    model_args.model_name_or_path = ranking.sources[0].name if ranking else candidates[0]
    model = model_args.model_maker(loaded)(args.seed)
    processor = model_args.processor(model)
    data = replace(data_args.prepare(loaded, processor), balance=balance)
    model = model_args.probed(lambda seed: model, loaded, data, args, cache_dir=advice_args.cache_dir)(args.seed)
    source = None
    if advice_args.source_data:
        source = data_args.prepare(load_data(advice_args.source_data, seed=args.seed), processor, like=data)
    budget = args.budget(len(data.train), data.modality)
    experience = measured_experience()
    stage("Measuring the data, trying the likeliest strategies" if advice_args.trials else "Measuring the data")
    found = recommend(
        model,
        data,
        budget=budget,
        source=source,
        unlabelled_rows=advice_args.unlabelled_rows,
        experience=experience,
        batch_size=args.per_device_eval_batch_size,
        seed=args.seed,
        cache_dir=advice_args.cache_dir,
        trials=advice_args.trials,
        args=args if advice_args.trials else None,
        store=store,
    )
    print(found, *suspected_lines(found.measures.suspected, loaded), sep="\n")
    if not args.should_save:
        return
    folder = Path(args.output_dir)
    run = {**resolved_config(model_args, data_args, balance_args, args), **found.plan}
    run = {name: value for name, value in run.items() if name not in _OF_TRIALS}
    config = resolved_config(model_args, data_args, advice_args, balance_args, args)
    facts = RunFacts(
        model_name=model_args.display_name,
        command=command_line(),
        seed=args.seed,
        seconds={
            "total": time.perf_counter() - started,
            "ranking": ranked_at - started,
            "measuring": found.measures.seconds,
            **({"trials": found.trials.seconds} if found.trials else {}),
        },
    )
    report = advice_report(
        found,
        experience,
        model,
        facts,
        data=loaded,
        ranking=ranking,
    )
    with written_beside(folder, whole=True, overwrite=args.overwrite_output_dir) as staged:
        write_settings(staged / "plan.yaml", run, comment=str(found))
        write_settings(staged / "config.yaml", config)
        write_report(staged, report)
    print(
        f"The report is {folder / 'report.html'}; hf-transfer finetune --config {folder / 'plan.yaml'} runs the plan."
    )
