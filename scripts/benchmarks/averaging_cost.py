"""What an average of the weights costs a training step: steps with it and without it in turns, in one run.

    python scripts/benchmarks/averaging_cost.py --model MODEL --image_size 96 --batch_size 16

EMA takes part in every second step alone, so that both kinds meet the same machine. Prints the median of what a step
with it takes relative to the two around it, and its quartiles. Not in it are evaluations, at which the average is put
in and BatchNorm's statistics are gathered anew.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field

import numpy as np
import torch
import transformers
from transformers import HfArgumentParser, Trainer, TrainerCallback, TrainingArguments

from hf_transfer_kit import EMA, load_model


@dataclass
class CostArguments:
    """What is timed."""

    model: str = field(metadata={"help": "Pretrained image classifier."})
    image_size: int = field(default=96, metadata={"help": "Side in pixels."})
    batch_size: int = field(default=16, metadata={"help": "Rows a step."})
    steps: int = field(default=120, metadata={"help": "Steps, half of them with EMA."})


class EverySecond(EMA):
    """The average of every second step."""

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step % 2:
            super().on_step_end(args, state, control, **kwargs)


class StepTimes(TrainerCallback):
    """When each step begins."""

    def __init__(self) -> None:
        self.begun: list[float] = []

    def on_step_begin(self, args, state, control, **kwargs):
        self.begun.append(time.perf_counter())


def main() -> None:
    transformers.utils.logging.set_verbosity_error()
    (options,) = HfArgumentParser(CostArguments).parse_args_into_dataclasses()
    model = load_model(options.model, num_labels=5, seed=0)
    model.to(memory_format=torch.channels_last)
    noise = torch.randn(options.batch_size, 3, options.image_size, options.image_size)
    rows = [{"pixel_values": noise[i], "labels": i % 5} for i in range(options.batch_size)]
    times = StepTimes()
    args = TrainingArguments(
        tempfile.mkdtemp(),
        max_steps=options.steps + 1,
        per_device_train_batch_size=options.batch_size,
        report_to=[],
        disable_tqdm=True,
        save_strategy="no",
        logging_strategy="no",
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    Trainer(model, args, train_dataset=rows, callbacks=[times, EverySecond()]).train()
    seconds = np.diff(times.begun)  # of step 1, which has the average, 2, which has not, ...
    around = (seconds[1:-1:2] + seconds[3::2]) / 2
    ratios = seconds[2::2][: len(around)] / around
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    print(f"{1000 * np.median(around):.1f} ms a step without EMA")
    print(f"EMA: {middle:.3f} times that (quartiles {low:.3f} to {high:.3f}, {len(ratios)} steps)")


if __name__ == "__main__":
    main()
