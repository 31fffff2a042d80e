"""One line a run on the console instead of Trainer's dictionaries."""

from __future__ import annotations

import sys
import time
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hf_transfer_kit.metrics.words import metric_words
from hf_transfer_kit.selection.contest.executors import in_worker
from hf_transfer_kit.tuning.networks import GIVEN


class ProgressLine(TrainerCallback):
    """Prints a line when the run ends, and keeps it current meanwhile where the output is a terminal.

    Args:
        title: What runs, such as ``"head_only, seed 0"``.
        width: Columns kept for the title.
        metric: What of an evaluation is shown.

    Example:
        >>> trainer = Trainer(model, args, train_dataset=train, callbacks=[ProgressLine("head_only, seed 0")])
    """

    def __init__(self, title: str, width: int = 32, metric: str = "accuracy") -> None:
        self.title = title
        self.width = width
        self.metric = metric
        self._started = 0.0
        self._reached: float | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._started = time.perf_counter()
        self._reached = None

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.is_world_process_zero and sys.stdout.isatty() and not in_worker():
            print(f"\r{self._line(state)}", end="", flush=True)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] = GIVEN,
        **kwargs: Any,
    ) -> None:
        self._reached = (metrics or {}).get(f"eval_{self.metric}", self._reached)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.is_world_process_zero:
            print(("\r" if sys.stdout.isatty() and not in_worker() else "") + self._line(state), flush=True)

    def _line(self, state: TrainerState) -> str:
        seconds = time.perf_counter() - self._started
        reached = "" if self._reached is None else f"  validation {metric_words(self.metric)} {self._reached:.3f}"
        return f"{self.title:<{self.width}} step {state.global_step}/{state.max_steps}  {seconds:6.1f} s{reached}"
