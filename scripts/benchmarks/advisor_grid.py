"""What every strategy reaches, for each source on each target with few rows to all: what the advisor is fitted to.

    python scripts/benchmarks/advisor_grid.py --minilm FOLDER --output_dir outputs/advisor_grid

Each cell (source, target, rows a class, seed) is one file in ``cells/`` of the output folder, with what the advisor
measures of it in ``measures/``; finished cells are passed over, so that a stopped run goes on, and several of these
commands at once share the work; a run that was killed leaves a file that ends in .claimed, to be deleted.
``advisor_fit.py`` reads the folder. Of a pooled target all rows are drawn anew with each seed: those to train on, 100
to choose by, and of the others as many as are tested.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from pathlib import Path

import datasets
import numpy as np
import torch
import transformers
import yaml
from transformers import HfArgumentParser, TrainingArguments

from hf_transfer_kit.backbones import load_model, load_processor, modality_of
from hf_transfer_kit.data import LoadedData, PreparedData, load_data, prepare_data
from hf_transfer_kit.data.embedded import EMBEDDED, embedded_data
from hf_transfer_kit.selection import (
    Budget,
    PrefixCaches,
    default_steps,
    fresh_network,
    fresh_processor,
    make_strategy,
    run_strategy,
)
from hf_transfer_kit.selection.advice import measure_case
from hf_transfer_kit.selection.finetuning.head_starts import HeadStarts

VALIDATION_ROWS = 100
LOOKS = 3
"""Looks at the validation rows during a run, the end included."""


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
    pooled: bool = False

    @property
    def target(self) -> str:
        """The dataset's name without its folder."""
        path = Path(self.dataset)
        return f"pacs_{path.name}" if path.parent.name == "pacs" else path.name

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
    for kind in ("cells", "measures"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
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
    """All cells in the grid's order, each with all its seeds."""
    for target in grid["targets"]:
        for per_class in target["sizes"]:
            for source in target["sources"]:
                for seed in grid["seeds"]:
                    yield Cell(source, target["dataset"], per_class, seed, target.get("pooled", False))


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
        found, measures = cell_results(cell, grid, folder)
        for place, values in ((folder / "measures" / done.name, measures), (done, found)):
            temporary = place.with_suffix(f".{os.getpid()}")
            temporary.write_text(json.dumps(values, indent=1))
            temporary.replace(place)
    finally:
        claim.unlink()


def cell_results(cell: Cell, grid: Mapping, folder: Path) -> tuple[dict[str, object], dict[str, object]]:
    """What each strategy reached on validation and test rows, and what was measured before."""
    make_model, data, budget = prepared_cell(cell, grid, folder)
    args = training_arguments(folder, budget.batch_size, warmup=budget.max_steps // 10)
    caches, heads = PrefixCaches(data, cache_dir=folder / "caches"), HeadStarts(data)
    measures = asdict(measure_case(make_model(cell.seed), data, budget, seed=cell.seed, cache_dir=folder / "caches"))
    results = {}
    for text in grid["strategies"]:
        started = time.perf_counter()
        run = run_strategy(
            make_strategy(text), make_model, data, args, budget, seed=cell.seed, attach=caches.attach, heads=heads
        )
        results[text] = {
            "test": run.test["accuracy"],
            "loss": run.test["loss"],
            "validation": run.validation["accuracy"],
            "validation_correct": "".join("01"[int(right)] for right in run.validation_correct),
            "curve": {point.step: point.accuracy for point in run.curve if point.accuracy is not None},
            "seconds": round(run.seconds, 2),
        }
        told = {name: results[text][name] for name in ("validation", "test", "seconds")}
        print(cell.name, text, told, f"{time.perf_counter() - started:.1f} s in all", flush=True)
    found = {
        "source": cell.source,
        "target": cell.target,
        "per_class": cell.per_class,
        "seed": cell.seed,
        "rows": len(data.train),
        "classes": len(data.label_names),
        "modality": data.modality,
        "validation_rows": len(data.validation),
        "test_rows": len(data.test),
        "steps": budget.max_steps,
        "batch_size": budget.batch_size,
        "results": results,
    }
    return found, measures


def prepared_cell(cell: Cell, grid: Mapping, folder: Path) -> tuple[partial, PreparedData, Budget]:
    """Seed -> model, the rows of a cell, ready for Trainer, and what each of its runs may spend."""
    source = grid["sources"][cell.source]
    checkpoint = source["model"] or learned_source(cell.source, source, folder)
    loaded = loaded_cell(cell, folder, test_rows=source.get("test_rows", grid["test_rows"]))
    maker = partial(_model, checkpoint, dict(enumerate(loaded.label_names)))
    processor = load_processor(checkpoint, modality_of(maker(0)))
    options = {name: source[name] for name in ("image_size", "max_length") if name in source}
    data = prepare_data(loaded, processor, **options)
    rows = len(data.train)
    batch_size = min(source["batch_size"], rows)
    least, most = grid["steps"]
    steps = default_steps(rows, batch_size, data.modality, least=least, most=most)
    return maker, data, Budget(steps, batch_size, evaluations=LOOKS)


def loaded_cell(cell: Cell, folder: Path, *, test_rows: int) -> LoadedData:
    """The rows of a cell, drawn by its seed; of test rows at most so many."""
    place = pooled_rows(cell.dataset, folder / "pooled") if cell.pooled else cell.dataset
    splits = {"validation_size": VALIDATION_ROWS, "seed": cell.seed}
    classes, rows = size_of(place)
    wanted = classes * cell.per_class
    if cell.pooled:
        splits["test_size"] = min(test_rows, rows - wanted - VALIDATION_ROWS)
    loaded = load_data(place, train_size=wanted, **splits)
    found = {
        split: some_rows(getattr(loaded, split), most, seed=cell.seed if cell.pooled else 0)
        for split, most in (("validation", VALIDATION_ROWS), ("test", test_rows))
    }
    return replace(loaded, **found, given_rows={})


@cache
def size_of(dataset: str) -> tuple[int, int]:
    """Classes and rows of all splits of a dataset."""
    whole = load_data(dataset)
    return len(whole.label_names), sum(whole.sizes().values())


def pooled_rows(dataset: str, folder: Path) -> str:
    """A file of all rows of a dataset, whatever split they were given in; made once."""
    place = folder / Path(dataset).name / "train.parquet"
    if not place.exists():
        if dataset in EMBEDDED:
            parts = list(embedded_data(dataset).values())
        else:
            parts = [datasets.Dataset.from_parquet(str(path)) for path in sorted(Path(dataset).rglob("*.parquet"))]
        place.parent.mkdir(parents=True, exist_ok=True)
        datasets.concatenate_datasets(parts).to_parquet(str(place))
    return str(place.parent)


def _model(checkpoint: str, id2label: dict[int, str], seed: int):
    return load_model(checkpoint, id2label=id2label, seed=seed)


def some_rows(rows: datasets.Dataset, most: int, *, seed: int) -> datasets.Dataset:
    """At most so many of the rows, drawn at random."""
    if len(rows) <= most:
        return rows
    return rows.select(np.sort(np.random.default_rng(seed).choice(len(rows), most, replace=False)))


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
        per_device_eval_batch_size=50,
        warmup_steps=warmup,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
    )


if __name__ == "__main__":
    main()
