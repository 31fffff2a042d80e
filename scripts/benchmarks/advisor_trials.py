"""What advice with real trials loses in cells of the grid, each advised by what other families of datasets gave.

    python scripts/benchmarks/advisor_trials.py --minilm FOLDER --output_dir outputs/advisor_grid

Reads the cells that ``advisor_grid.py`` has finished in the same folder, asks ``recommend`` for a plan with and without
trials (short runs of their own, on the cell's rows), and tells what either loses on the cell's test rows, mean over its
seeds, and the time of the trials as a share of that of the race in the grid. Results lie in ``trials/``; those that are
there are not made again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

import datasets
import transformers
from advisor_fit import read_cases
from advisor_grid import Cell, GridArguments, cells, prepared_cell, read_grid, training_arguments
from transformers import HfArgumentParser

from hf_transfer_kit import recommend
from hf_transfer_kit.selection.advice import Case, Experience, fit_settings


@dataclass
class TrialArguments(GridArguments):
    """Which cells."""

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
        wanted = options.only_source in (None, cell.source) and cell.seed in options.only_seeds
        if not wanted or not (folder / "cells" / place.name).exists():
            continue
        if not place.exists():
            place.write_text(json.dumps(tried(cell, grid, folder, cases), indent=1))
        found.append(json.loads(place.read_text()))
        print(cell.name, found[-1], flush=True)
    print(json.dumps(summary(found), indent=1))


def tried(cell: Cell, grid: dict, folder: Path, cases: list[Case]) -> dict[str, object]:
    """What was advised for one cell, and what that lost."""
    known = json.loads((folder / "cells" / f"{cell.name}.json").read_text())
    key = (known["source"], known["target"], known["rows"])
    own = next(case for case in cases if (case.source, case.target, case.measures.rows) == key)
    others = tuple(case for case in cases if case.family != own.family)
    make_model, data, budget = prepared_cell(cell, grid, folder)
    plan = recommend(
        make_model(cell.seed),
        data,
        budget=budget,
        experience=Experience(others, fit_settings(others), "advisor_trials.py", {}),
        seed=cell.seed,
        cache_dir=folder / "caches",
        trials=True,
        args=training_arguments(folder, budget.batch_size),
    )
    race = sum(result["seconds"] for result in known["results"].values())
    return {
        "family": own.family,
        "advised": plan.trials.expected[0].strategy,
        "lost": own.regret(plan.trials.expected[0].strategy),
        "tried": {run.strategy: run.accuracy for run in plan.trials.runs},
        "with_trials": plan.strategy,
        "lost_with_trials": own.regret(plan.strategy),
        "lost_by_full": own.regret("full"),
        "row_share": plan.trials.share,
        "time_share": plan.trials.seconds / race,
    }


def summary(found: list[dict]) -> dict[str, float]:
    """Means over the cells."""
    return {
        "cells": len(found),
        **{name: fmean(cell[name] for cell in found) for name in ("lost", "lost_with_trials", "lost_by_full")},
        **{
            f"{name}_within_a_point": fmean(cell[name] <= 0.01 for cell in found)
            for name in ("lost", "lost_with_trials")
        },
        **{name: fmean(cell[name] for cell in found) for name in ("row_share", "time_share")},
    }


if __name__ == "__main__":
    main()
