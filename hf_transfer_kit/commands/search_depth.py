"""How many layers to freeze: every depth tried, from one pass through the network, at a fraction of the cost.

    hf-transfer depth --model_name_or_path MODEL --dataset DATASET

Writes depth.json (accuracy, error and cost by depth), the picture, a report, and finetune.yaml, which
`hf-transfer finetune --config` runs unchanged. `--direction last` freezes next to the head instead, for speech. Without
arguments it searches for a small network that learned scikit-learn's digits, on 100 labelled digits on photographs.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field, replace
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
from hf_transfer_kit.commands.flags.arguments import (
    BalanceArguments,
    CacheArguments,
    DataArguments,
    uses_embedded_example,
)
from hf_transfer_kit.commands.flags.network_arguments import ModelArguments
from hf_transfer_kit.commands.flags.run_arguments import KeptRunsArguments
from hf_transfer_kit.hub import written_beside
from hf_transfer_kit.hub.output_folder import REPORT
from hf_transfer_kit.reports import RunFacts, depth_report, depth_table, save_depth_picture, write_report
from hf_transfer_kit.selection import ProgressLine, search_freeze_depth


@dataclass
class SearchArguments:
    """What is tried."""

    direction: str = field(
        default="first", metadata={"help": "first: freeze from the input; last: next to the head, for speech."}
    )
    depths: list[int] | None = field(default=None, metadata={"help": "Numbers of frozen layer groups; default: all."})
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2], metadata={"help": "Runs of a depth on the last rung."})
    reduction_factor: int = field(default=3, metadata={"help": "Factor between the budgets of neighbouring rungs."})
    share: float = field(default=0.28, metadata={"help": "Part of the cost of an exhaustive search to spend."})

    def __post_init__(self) -> None:
        check_choice("--direction", self.direction, ("first", "last"))


FLAGS = (ModelArguments, DataArguments, SearchArguments, CacheArguments, BalanceArguments, KeptRunsArguments)
"""Dataclasses of its flags."""


def main() -> None:
    started = time.perf_counter()
    model_args, data_args, search_args, cache_args, balance_args, args = parse_arguments(*FLAGS, recipe="search_depth")
    balance = balance_args.balance()
    checked_output(args, model_args, data_args, names=(*REPORT, "depth.json", "depth.svg", "finetune.yaml"))
    refuse_push(args, "hf-transfer finetune --config finetune.yaml --push_to_hub trains one and pushes it")
    uses_embedded_example(model_args, data_args, args)
    with args.main_process_first():
        loaded = data_args.load()
    make_model = model_args.model_maker(loaded)
    model = make_model(args.seed)
    with args.main_process_first():
        data = replace(data_args.prepare(loaded, model_args.processor(model)), balance=balance)
    make_model = model_args.probed(make_model, loaded, data, args, cache_dir=cache_args.cache_dir)
    budget = args.budget(len(data.train), data.modality)
    stage("Searching the depth")
    search = search_freeze_depth(
        make_model,
        data,
        args,
        budget,
        depths=search_args.depths,
        direction=search_args.direction,
        seeds=search_args.seeds,
        reduction_factor=search_args.reduction_factor,
        share=search_args.share,
        **cache_args.caches(data, args).search_options,
        callbacks=lambda text, seed: [ProgressLine(f"{text}, seed {seed}")],
        store=args.run_store(),
    )
    if not args.should_save:
        return
    facts = RunFacts(
        model_name=model_args.display_name,
        budget=budget,
        command=command_line(),
        seconds={"total": time.perf_counter() - started},
        seed=search_args.seeds[0],
    )
    report = depth_report(
        search,
        model,
        facts,
        data=loaded,
        prepared=data,
        seeds=search_args.seeds,
    )
    print(depth_table(search), search.sentence, sep="\n")
    folder = Path(args.output_dir)
    run = {
        **resolved_config(model_args, data_args, cache_args, balance_args, args),
        "strategy": search.strategy,
        "max_steps": budget.max_steps,
    }
    config = resolved_config(model_args, data_args, search_args, cache_args, balance_args, args)
    with written_beside(folder, whole=True, overwrite=args.overwrite_output_dir) as staged:
        (staged / "depth.json").write_text(json.dumps(asdict(search), indent=2) + "\n")
        save_depth_picture(search, staged / "depth.svg")
        write_settings(staged / "finetune.yaml", run)
        write_settings(staged / "config.yaml", config)
        write_report(staged, report)
    print(
        f"The report is {folder / 'report.html'}; hf-transfer finetune --config {folder / 'finetune.yaml'} trains it."
    )
