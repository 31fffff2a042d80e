"""What every strategy reaches, for each source on each target with few rows to all: what the advisor is fitted to.

    python scripts/benchmarks/advisor_grid.py --minilm FOLDER --output_dir outputs/advisor_grid

Each cell (source, target, rows a class, seed) is one file in the output folder; finished cells are passed over, so that
a stopped run goes on, and several of these commands at once share the work; a run that was killed leaves a file that
ends in .claimed, to be deleted. ``advisor_fit.py`` reads the folder.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path

import datasets
import numpy as np
import torch
import transformers
import yaml
from transformers import HfArgumentParser, TrainingArguments

from hf_transfer_kit.backbones import load_model, load_processor, modality_of
from hf_transfer_kit.data import load_data, prepare_data
from hf_transfer_kit.data.memory import Rows
from hf_transfer_kit.selection import (
    Budget,
    PrefixCaches,
    default_steps,
    fresh_network,
    fresh_processor,
    make_strategy,
    run_strategy,
)


@dataclass
class GridArguments:
    """Which grid, and where it goes."""

    minilm: str = field(metadata={"help": "Folder of the sentence encoder that MINILM stands for."})
    grid: str = field(default="scripts/benchmarks/advisor_grid.yaml", metadata={"help": "Sources, targets, sizes."})
    output_dir: str = field(default="outputs/advisor_grid", metadata={"help": "One file a cell."})
    only_source: str | None = field(default=None, metadata={"help": "Cells of one source only."})


@dataclass(frozen=True)
class Cell:
    """One place of the grid."""

    source: str
    dataset: str
    per_class: int
    seed: int

    @property
    def target(self) -> str:
        """The dataset's name without its folder."""
        return "_".join(Path(self.dataset).parts[-2:]) if "pacs" in self.dataset else Path(self.dataset).name

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.source}-{self.target}-{self.per_class}-{self.seed}"


def main() -> None:
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    (options,) = HfArgumentParser(GridArguments).parse_args_into_dataclasses()
    folder = Path(options.output_dir)
    (folder / "cells").mkdir(parents=True, exist_ok=True)
    grid = read_grid(options)
    for cell in cells(grid):
        if options.only_source in (None, cell.source):
            compute(cell, grid, folder)


def read_grid(options: GridArguments) -> dict:
    """The grid with the places of its checkpoints."""
    grid = yaml.safe_load(Path(options.grid).read_text())
    for source in grid["sources"].values():
        source["model"] = options.minilm if source.get("model") == "MINILM" else source.get("model")
    return grid


def cells(grid: Mapping) -> Iterator[Cell]:
    """All cells, those of the first seed first."""
    for seed in grid["seeds"]:
        for target in grid["targets"]:
            for per_class in target["sizes"]:
                for source in target["sources"]:
                    yield Cell(source, target["dataset"], per_class, seed)


def compute(cell: Cell, grid: Mapping, folder: Path) -> None:
    """Runs every strategy of one cell, unless that is done or another process is at it."""
    done, claim = folder / "cells" / f"{cell.name}.json", folder / "cells" / f"{cell.name}.claimed"
    if done.exists():
        return
    try:
        claim.touch(exist_ok=False)
    except FileExistsError:
        return
    try:
        found = cell_results(cell, grid, folder)
        temporary = done.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(found, indent=1))
        temporary.replace(done)
    finally:
        claim.unlink()


def cell_results(cell: Cell, grid: Mapping, folder: Path) -> dict[str, object]:
    """What each strategy reached on the test rows."""
    source = grid["sources"][cell.source]
    checkpoint = source["model"] or learned_source(cell.source, source, folder)
    make_model, data = prepared_cell(cell, source, checkpoint, test_rows=source.get("test_rows", grid["test_rows"]))
    rows = len(data.train)
    batch_size = min(source["batch_size"], rows)
    args = training_arguments(folder, batch_size)
    budget = Budget(default_steps(rows, batch_size, data.modality), batch_size, evaluations=1)
    caches = PrefixCaches(data, cache_dir=folder / "caches")
    args.warmup_steps = budget.max_steps // 10
    results = {}
    for text in grid["strategies"]:
        run = run_strategy(make_strategy(text), make_model, data, args, budget, seed=cell.seed, attach=caches.attach)
        results[text] = {"test": run.test["accuracy"], "loss": run.test["loss"], "seconds": round(run.seconds, 2)}
        print(cell.name, text, results[text], flush=True)
    return {
        "source": cell.source,
        "target": cell.target,
        "per_class": cell.per_class,
        "seed": cell.seed,
        "rows": rows,
        "classes": len(data.label_names),
        "modality": data.modality,
        "test_rows": len(data.test),
        "steps": budget.max_steps,
        "batch_size": batch_size,
        "results": results,
    }


def prepared_cell(cell: Cell, source: Mapping, checkpoint: str, *, test_rows: int):
    """Seed -> model, and the rows of a cell, ready for Trainer."""
    classes, most = size_of(cell.dataset)
    wanted = min(classes * cell.per_class, most)
    loaded = load_data(cell.dataset, train_size=wanted, validation_size=0.1, seed=cell.seed)
    maker = partial(_model, checkpoint, dict(enumerate(loaded.label_names)))
    processor = load_processor(checkpoint, modality_of(maker(0)))
    options = {name: source[name] for name in ("image_size", "max_length") if name in source}
    data = prepare_data(loaded, processor, **options)
    return maker, replace(
        data, validation=some_rows(data.validation, 100, seed=0), test=some_rows(data.test, test_rows, seed=0)
    )


@cache
def size_of(dataset: str) -> tuple[int, int]:
    """Classes and training rows of a dataset, a tenth held out for validation."""
    whole = load_data(dataset, validation_size=0.1)
    return len(whole.label_names), len(whole.train)


def _model(checkpoint: str, id2label: dict[int, str], seed: int):
    return load_model(checkpoint, id2label=id2label, seed=seed)


def some_rows(rows: Rows, most: int, *, seed: int) -> Rows:
    """At most so many of the rows, drawn at random."""
    if len(rows) <= most:
        return rows
    chosen = np.sort(np.random.default_rng(seed).choice(len(rows), most, replace=False))
    values = rows.values[torch.from_numpy(chosen)] if torch.is_tensor(rows.values) else [rows.values[i] for i in chosen]
    return Rows(values, np.asarray(rows.classes)[chosen], rows.name, change=rows.change)


def learned_source(name: str, source: Mapping, folder: Path) -> str:
    """The folder of a small network trained on its own data first; made once."""
    place = folder / "sources" / name
    if (place / "config.json").exists():
        return str(place)
    loaded = load_data(source["learned"], train_size=source["rows"], validation_size=0.1)
    processor = fresh_processor(source["network"])
    data = prepare_data(loaded, processor)
    started = time.perf_counter()
    run = run_strategy(
        make_strategy("full"),
        lambda seed: fresh_network(source["network"], loaded.label_names, seed=seed),
        data,
        training_arguments(folder, source["batch_size"], warmup=source["steps"] // 10),
        Budget(source["steps"], source["batch_size"], evaluations=1, learning_rate=1e-3),
        seed=0,
    )
    print(f"{name}: {run.test['accuracy']:.3f} on its own data, {time.perf_counter() - started:.0f} s.", flush=True)
    run.model.to(memory_format=torch.contiguous_format).save_pretrained(place)
    processor.save_pretrained(place)
    return str(place)


def training_arguments(folder: Path, batch_size: int, *, warmup: int = 0) -> TrainingArguments:
    """Arguments that all runs share; the budget is set by ``run_strategy``."""
    return TrainingArguments(
        output_dir=str(folder / "runs"),
        per_device_train_batch_size=batch_size,
        per_device_eval_batch_size=100,
        warmup_steps=warmup,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
    )


if __name__ == "__main__":
    main()
