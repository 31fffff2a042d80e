"""What the advisor measures of each cell of the grid, and what that costs beside fine-tuning everything.

    python scripts/benchmarks/advisor_measure.py --minilm FOLDER --output_dir outputs/advisor_grid

Reads the cells that ``advisor_grid.py`` has finished in the same folder and writes ``measures/CELL.json`` beside them.
``--full_again`` runs full fine-tuning once more right after measuring, so that both times come from one moment.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import datasets
import transformers
from advisor_grid import Cell, GridArguments, cells, learned_source, prepared_cell, read_grid, training_arguments
from transformers import HfArgumentParser

from hf_transfer_kit.selection import Budget, make_strategy, run_strategy
from hf_transfer_kit.selection.advice.measuring import measure_case


@dataclass
class MeasureArguments(GridArguments):
    """Which cells, and whether time is compared."""

    full_again: bool = field(default=False, metadata={"help": "Time a full fine-tuning beside measuring."})
    only_seed: int | None = field(default=None, metadata={"help": "Cells of one seed only."})


def main() -> None:
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    (options,) = HfArgumentParser(MeasureArguments).parse_args_into_dataclasses()
    folder, grid = Path(options.output_dir), read_grid(options)
    (folder / "measures").mkdir(parents=True, exist_ok=True)
    for cell in cells(grid):
        done, place = folder / "cells" / f"{cell.name}.json", folder / "measures" / f"{cell.name}.json"
        wanted = options.only_source in (None, cell.source) and options.only_seed in (None, cell.seed)
        if wanted and done.exists() and (options.full_again or not place.exists()):
            found = measured(cell, grid, folder, json.loads(done.read_text()), full_again=options.full_again)
            place.write_text(json.dumps(found, indent=1))
            print(cell.name, found, flush=True)


def measured(cell: Cell, grid: dict, folder: Path, known: dict, *, full_again: bool) -> dict[str, object]:
    """The measures of one cell."""
    source = grid["sources"][cell.source]
    checkpoint = source["model"] or learned_source(cell.source, source, folder)
    make_model, data = prepared_cell(cell, source, checkpoint, test_rows=1)
    budget = Budget(known["steps"], known["batch_size"], evaluations=1)
    found = asdict(measure_case(make_model(cell.seed), data, budget, seed=cell.seed, cache_dir=folder / "caches"))
    if full_again:
        args = training_arguments(folder, known["batch_size"], warmup=known["steps"] // 10)
        started = time.perf_counter()
        run_strategy(make_strategy("full"), make_model, data, args, budget, seed=cell.seed, test=False)
        found["full_seconds"] = time.perf_counter() - started
    return found


if __name__ == "__main__":
    main()
