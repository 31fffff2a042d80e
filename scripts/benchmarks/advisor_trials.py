"""What advice with real trials loses in cells of the grid, each advised by what other families of datasets gave.

    python scripts/benchmarks/advisor_trials.py --minilm FOLDER --output_dir outputs/advisor_grid

Reads the cells that ``advisor_grid.py`` has finished in the same folder, asks ``recommend`` for a plan with and without
trials (short runs of their own, on the cell's rows), and tells what either loses on the cell's test rows, mean over its
seeds. Results lie in ``trials/``; those that are there are not made again. ``--race_again`` races all strategies right
after, and tells processor time of advice with trials, measuring included, as a share of the race's.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

import datasets
import transformers
from advisor_fit import read_cases
from advisor_grid import Cell, GridArguments, cells, prepared_cell, read_grid, training_arguments
from transformers import HfArgumentParser

from hf_transfer_kit import make_strategy, recommend
from hf_transfer_kit.selection import PrefixCaches, run_strategy
from hf_transfer_kit.selection.advice import Case, Experience, fit_settings
from hf_transfer_kit.selection.finetuning.head_starts import HeadStarts


@dataclass
class TrialArguments(GridArguments):
    """Which cells."""

    only_target: str | None = field(default=None, metadata={"help": "Cells of one target only."})
    race_again: bool = field(default=False, metadata={"help": "Time a race beside the trials."})
    only_seeds: list[int] = field(default_factory=lambda: [0], metadata={"help": "Cells of these seeds."})


def main() -> None:
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    (options,) = HfArgumentParser(TrialArguments).parse_args_into_dataclasses()
    folder, grid = Path(options.output_dir), read_grid(options)
    (folder / "trials").mkdir(parents=True, exist_ok=True)
    cases, found = read_cases(folder), []
    for cell in cells(grid):
        place = folder / "trials" / f"{cell.name}.json"
        wanted = options.only_source in (None, cell.source) and options.only_target in (None, cell.target)
        if not wanted or cell.seed not in options.only_seeds or not (folder / "cells" / place.name).exists():
            continue
        if options.race_again or not place.exists():
            values = tried(cell, grid, folder, cases, race_again=options.race_again)
            place.write_text(json.dumps(values, indent=1))
        found.append(json.loads(place.read_text()))
        print(cell.name, found[-1], flush=True)
    print(json.dumps(summary(found), indent=1))


def tried(cell: Cell, grid: dict, folder: Path, cases: list[Case], *, race_again: bool) -> dict[str, object]:
    """What was advised for one cell, and what that lost."""
    known = json.loads((folder / "cells" / f"{cell.name}.json").read_text())
    key = (known["source"], known["target"], known["rows"])
    own = next(case for case in cases if (case.source, case.target, case.measures.rows) == key)
    others = tuple(case for case in cases if case.family != own.family)
    make_model, data, budget = prepared_cell(cell, grid, folder)
    args = training_arguments(folder, budget.batch_size)
    started = time.process_time()
    plan = recommend(
        make_model(cell.seed),
        data,
        budget=budget,
        experience=Experience(others, fit_settings(others), "advisor_trials.py", {}),
        seed=cell.seed,
        cache_dir=folder / "caches",
        trials=True,
        args=args,
    )
    advising = time.process_time() - started
    found = {
        "family": own.family,
        "advised": plan.trials.expected[0].strategy,
        "lost": own.regret(plan.trials.expected[0].strategy),
        "tried": {run.strategy: run.accuracy for run in plan.trials.runs},
        "with_trials": plan.strategy,
        "lost_with_trials": own.regret(plan.strategy),
        "lost_by_full": own.regret("full"),
        "row_share": plan.trials.share,
    }
    if race_again:
        caches, heads = PrefixCaches(data, cache_dir=folder / "caches"), HeadStarts(data)
        started = time.process_time()
        for text in grid["strategies"]:
            run_strategy(
                make_strategy(text), make_model, data, args, budget,
                seed=cell.seed, attach=caches.attach, heads=heads, test=False,
            )  # fmt: skip
        found["time_share"] = advising / (time.process_time() - started)
    return found


def summary(found: list[dict]) -> dict[str, float]:
    """Means over the cells."""
    return {
        "cells": len(found),
        **{name: fmean(cell[name] for cell in found) for name in ("lost", "lost_with_trials", "lost_by_full")},
        **{
            f"{name}_within_a_point": fmean(cell[name] <= 0.01 for cell in found)
            for name in ("lost", "lost_with_trials")
        },
        "row_share": fmean(cell["row_share"] for cell in found),
    }


if __name__ == "__main__":
    main()
