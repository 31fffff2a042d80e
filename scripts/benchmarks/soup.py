"""A race's soup against its best ingredient: test accuracy over draws of the labelled rows, all chosen on validation.

    python scripts/benchmarks/soup.py --model MODEL --dataset DATASET --shots 20 --output_dir outputs/soup

For each draw the strategies run with every seed, then the greedy soup of their weights is made. Beside it stand the run
that is best on validation, with which the soup begins, and the mean of all runs. Ends with a Markdown table: mean and
standard error over the draws.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import datasets
import numpy as np
import torch
import transformers
from strategies import BenchmarkArguments, make_model, splits
from transformers import HfArgumentParser, TrainingArguments

from hf_transfer_kit.selection import Budget, compare_strategies


@dataclass
class SoupArguments(BenchmarkArguments):
    """What goes into the soups, and on what."""

    output_dir: str = field(default="outputs/soup", metadata={"help": "Folder for results.json and table.md."})
    shots: list[int] = field(default_factory=lambda: [20], metadata={"help": "Labels a class."})
    strategies: list[str] = field(default_factory=lambda: ["full", "freeze_first"], metadata={"help": "Ingredients."})
    draws: list[int] = field(default_factory=lambda: [0, 1, 2], metadata={"help": "Draws of the labelled rows."})


def main() -> None:
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    (options,) = HfArgumentParser(SoupArguments).parse_args_into_dataclasses()
    folder = Path(options.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "results.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    for shots in options.shots:
        for draw in options.draws:
            if f"{shots}/{draw}" not in found:
                found[f"{shots}/{draw}"] = soup_of(options, shots, draw)
                print(shots, draw, found[f"{shots}/{draw}"], flush=True)
                path.write_text(json.dumps(found, indent=1))
    lines = [
        "| labels a class | mean of the runs | best run on validation | soup | runs in the soup |",
        "|---" * 5 + "|",
    ]
    for shots in options.shots:
        cells = [found[f"{shots}/{draw}"] for draw in options.draws]
        counts = ", ".join(str(cell["mixed"]) for cell in cells)
        lines.append(
            f"| {shots} | " + " | ".join(told(cells, key) for key in ("mean", "best", "soup")) + f" | {counts} |"
        )
    (folder / "table.md").write_text("\n".join(lines) + "\n")
    print(*lines, sep="\n")


def soup_of(options: SoupArguments, shots: int, draw: int) -> dict[str, float]:
    """One race with its soup, on one draw of the rows; a soup of one run is that run."""
    loaded, data = splits(options, shots, draw)
    args = TrainingArguments(
        output_dir=str(Path(options.output_dir) / "runs"),
        per_device_train_batch_size=options.batch_size,
        per_device_eval_batch_size=100,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        warmup_steps=options.steps // 10,
    )
    budget = Budget(options.steps, options.batch_size, evaluations=1)
    race = compare_strategies(
        lambda seed: make_model(options, loaded.label_names, seed),
        data,
        options.strategies,
        args,
        budget,
        seeds=options.seeds,
        soup=True,
    )
    runs = [run for run in race.runs if run.candidate != "soup"]
    best = max(runs, key=lambda run: (run.figures["validation"]["accuracy"], -run.figures["validation"]["loss"]))
    mixed = next((result for result in race.results if result.strategy == "soup"), None)
    figures = best.figures if mixed is None else {"validation": mixed.validation, "test": mixed.test}
    return {
        "mean": float(np.mean([run.figures["test"]["accuracy"] for run in runs])),
        "best": best.figures["test"]["accuracy"],
        "soup": figures["test"]["accuracy"],
        "best validation": best.figures["validation"]["accuracy"],
        "soup validation": figures["validation"]["accuracy"],
        "mixed": 1 if mixed is None else int(race.soup.split()[6]),
    }


def told(cells: list[dict[str, float]], key: str) -> str:
    """Mean and standard error in %."""
    values = 100 * np.array([cell[key] for cell in cells])
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
    return f"{values.mean():.1f} ± {error:.1f}"


if __name__ == "__main__":
    main()
