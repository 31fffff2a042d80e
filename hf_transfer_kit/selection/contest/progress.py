"""One line a run on the console instead of Trainer's dictionaries."""

from __future__ import annotations

import sys
import time
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hf_transfer_kit.metrics.words import metric_words
from hf_transfer_kit.selection.contest.executors import in_worker
from hf_transfer_kit.tuning.networks import GIVEN


class RunClock:
    """How much of a comparison is left, at the pace of the runs so far.

    Args:
        runs: That are planned; runs that were kept, and candidates that are given up, are fewer to come.

    Example:
        >>> clock = RunClock(3)
        >>> clock.begin()
        >>> clock.end(60.0)
        >>> clock.begin()
        >>> clock.words(left=30.0)
        'run 2 of 3, at most 2 min left'
    """

    def __init__(self, runs: int) -> None:
        self.runs = runs
        self.begun = 0
        self._seconds: list[float] = []

    def begin(self) -> None:
        """A run begins."""
        self.begun += 1

    def end(self, seconds: float) -> None:
        """It took so long."""
        self._seconds.append(seconds)

    def words(self, left: float) -> str:
        """For people; empty once more runs have begun than were planned.

        Args:
            left: Seconds that the present run has still to go.
        """
        if self.begun > self.runs:
            return ""
        mean = sum(self._seconds) / len(self._seconds) if self._seconds else None
        if mean is None:
            return f"run {self.begun} of {self.runs}, {_duration(left)} of it left"
        return f"run {self.begun} of {self.runs}, at most {_duration(left + mean * (self.runs - self.begun))} left"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class ProgressLine(TrainerCallback):
    """Prints a line when the run ends, and keeps it current meanwhile where the output is a terminal.

    Args:
        title: What runs, such as ``"head_only, seed 0"``.
        width: Columns kept for the title.
        metric: What of an evaluation is shown.
        clock: Shared by the lines of a comparison, which then say what is left of it all.

    Example:
        >>> trainer = Trainer(model, args, train_dataset=train, callbacks=[ProgressLine("head_only, seed 0")])
    """

    def __init__(self, title: str, width: int = 32, metric: str = "accuracy", clock: RunClock | None = None) -> None:
        self.title = title
        self.width = width
        self.metric = metric
        self.clock = clock or RunClock(0)
        self._started = 0.0
        self._reached: float | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._started = time.perf_counter()
        self._reached = None
        self.clock.begin()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.is_world_process_zero and sys.stdout.isatty() and not in_worker():
            seconds = time.perf_counter() - self._started
            left = self.clock.words(seconds / max(1, state.global_step) * (state.max_steps - state.global_step))
            print(f"\r{self._line(state)}{'  ' * bool(left)}{left}\x1b[K", end="", flush=True)

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
        self.clock.end(time.perf_counter() - self._started)
        if state.is_world_process_zero:
            begin, end = ("\r", "\x1b[K") if sys.stdout.isatty() and not in_worker() else ("", "")
            print(f"{begin}{self._line(state)}{end}", flush=True)

    def _line(self, state: TrainerState) -> str:
        seconds = time.perf_counter() - self._started
        reached = "" if self._reached is None else f"  validation {metric_words(self.metric)} {self._reached:.3f}"
        return f"{self.title:<{self.width}} step {state.global_step}/{state.max_steps}  {seconds:6.1f} s{reached}"
