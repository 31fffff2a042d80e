"""What solving a head costs beside the run that it begins: seconds of both, and the share, for some numbers of rows.

    python scripts/benchmarks/head_cost.py --model MODEL --dataset DATASET

A run is fine-tuning of the whole network (AdamW, 150 steps of 16 rows); its time is that of a few steps that are timed
between two solutions. In a comparison one solution serves all strategies and seeds.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, field
from statistics import median

import datasets
import torch
from transformers import HfArgumentParser

from hf_transfer_kit import solve_head
from hf_transfer_kit.backbones import load_model, load_processor
from hf_transfer_kit.data import load_data, prepare_data


@dataclass
class CostArguments:
    """What is timed, and on what."""

    model: str = field(metadata={"help": "Pretrained image classifier."})
    dataset: str = field(metadata={"help": "Labelled photos."})
    shots: list[int] = field(default_factory=lambda: [5, 20, 100], metadata={"help": "Labels a class."})
    image_size: int = field(default=96, metadata={"help": "Side in pixels."})
    steps: int = field(default=150, metadata={"help": "Steps of the run."})
    batch_size: int = field(default=16, metadata={"help": "Rows a step."})
    timed_steps: int = field(default=6, metadata={"help": "Steps that are timed in each round."})
    rounds: int = field(default=3, metadata={"help": "Solutions and stretches of steps, one after the other."})


def main() -> None:
    datasets.disable_progress_bars()
    (options,) = HfArgumentParser(CostArguments).parse_args_into_dataclasses()
    print("| labels a class | rows | solving, s | run, s | share | without validation rows |")
    print("|---|---|---|---|---|---|")
    whole = load_data(options.dataset, seed=0)
    share = 100 / (len(whole.train) + len(whole.validation))
    for shots in options.shots:
        size = shots * len(whole.label_names)
        loaded = load_data(options.dataset, train_size=size, validation_size=share, seed=0)
        data = prepare_data(loaded, load_processor(options.model, "image"), image_size=options.image_size)
        model = load_model(options.model, id2label=dict(enumerate(loaded.label_names)), seed=0)
        model.to(memory_format=torch.channels_last)
        solving, alone, step = [], [], []
        for _ in range(options.rounds):
            solving.append(solve_head(model, data.train, collator=data.collator, validation=data.validation).seconds)
            alone.append(solve_head(model, data.train, collator=data.collator).seconds)
            step += steps(copy.deepcopy(model), data, options)
        run = median(step) * options.steps
        print(
            f"| {shots} | {size} | {median(solving):.2f} | {run:.1f} | {median(solving) / run:.1%} | "
            f"{median(alone) / run:.1%} |",
            flush=True,
        )


def steps(model, data, options: CostArguments) -> list[float]:
    """Seconds of each step."""
    optimizer, found = torch.optim.AdamW(model.train().parameters(), lr=1e-4), []
    for step in range(options.timed_steps):
        rows = [data.train[(step * options.batch_size + row) % len(data.train)] for row in range(options.batch_size)]
        started = time.perf_counter()
        model(**data.collator(rows)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        found.append(time.perf_counter() - started)
    return found


if __name__ == "__main__":
    main()
