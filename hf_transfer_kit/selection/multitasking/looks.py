"""How well a network of several tasks does during training: each task's metric on its validation rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

Judge = Callable[[], Mapping[str, float]]


class TaskLooks(TrainerCallback):
    """Looks at every task at equal distances and at the end, and notes what it sees.

    Args:
        judge: Task -> its metric now, higher is better.
        every: Steps between two looks, asked for after each step.

    Attributes:
        points: Step and every task's metric, one entry a look.

    Example:
        >>> looks = TaskLooks(lambda: {"digit": 0.5}, every=lambda: 1)
        >>> trainer = Trainer(model, args, train_dataset=train, callbacks=[looks])
        >>> _ = trainer.train()
        >>> looks.points[0]
        (1, (0.5,))
    """

    def __init__(self, judge: Judge, every: Callable[[], int]) -> None:
        self.judge = judge
        self.every = every
        self.points: list[tuple[int, tuple[float, ...]]] = []

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.points = []

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.global_step % self.every() == 0 or state.global_step >= state.max_steps:
            self.points.append((state.global_step, tuple(self.judge().values())))
