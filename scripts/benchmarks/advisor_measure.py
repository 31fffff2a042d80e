"""What measuring a case costs beside fine-tuning everything, in cells of the advisor's grid.

    python scripts/benchmarks/advisor_measure.py --minilm FOLDER --output_dir outputs/advisor_grid

For each cell that ``advisor_grid.py`` has finished in the same folder, seconds of measuring, without what is cached,
and of one run of ``full`` right after it, so that both times come from one moment.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

import datasets
import transformers
from advisor_grid import Cell, GridArguments, cells, prepared_cell, read_grid, training_arguments
from transformers import HfArgumentParser

from hf_transfer_kit.selection import make_strategy, run_strategy
from hf_transfer_kit.selection.advice import measure_case


@dataclass
class MeasureArguments(GridArguments):
    """Which cells."""

    only_seed: int | None = field(default=None, metadata={"help": "Cells of one seed only."})


def main() -> None:
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    (options,) = HfArgumentParser(MeasureArguments).parse_args_into_dataclasses()
    folder, grid = Path(options.output_dir), read_grid(options)
    shares = []
    for cell in cells(grid):
        wanted = options.only_source in (None, cell.source) and options.only_seed in (None, cell.seed)
        if wanted and (folder / "cells" / f"{cell.name}.json").exists():
            measuring, full = timed(cell, grid, folder)
            shares.append(measuring / full)
            print(f"{cell.name}: measuring {measuring:.2f} s, full {full:.2f} s, {shares[-1]:.1%}", flush=True)
    print(f"{len(shares)} cells: {fmean(shares):.1%} on average, {min(shares):.1%} to {max(shares):.1%}")


def timed(cell: Cell, grid: dict, folder: Path) -> tuple[float, float]:
    """Seconds of measuring, and of fine-tuning everything with the head solved first."""
    make_model, data, budget = prepared_cell(cell, grid, folder)
    with tempfile.TemporaryDirectory() as caches:
        measures = measure_case(make_model(cell.seed), data, budget, seed=cell.seed, cache_dir=caches)
    args = training_arguments(folder, budget.batch_size, warmup=budget.max_steps // 10)
    started = time.perf_counter()
    run_strategy(make_strategy("full"), make_model, data, args, budget, seed=cell.seed, test=False)
    return measures.seconds, time.perf_counter() - started


if __name__ == "__main__":
    main()
