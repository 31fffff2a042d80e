"""How long a run goes on: until its score has flattened, at most to a cap in steps and in minutes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hf_transfer_kit.features.ranks import Ranks
from hf_transfer_kit.selection.contest.budget import Budget
from hf_transfer_kit.selection.contest.run_settings import LOG_ENTRIES
from hf_transfer_kit.tuning.networks import GIVEN

FLAT, STEPS, MINUTES = "flat", "steps", "minutes"
"""Why a run ended: its score had flattened, its steps were done, its minutes were over."""
RAMP = 0.25
"""Share of an open run in which a method comes to its full strength; no score counts before."""
FALL = 0.25
"""Share of a run that ends before its cap in which the rate falls to zero."""
GAIN = 0.01
"""Share of all that was gained so far below which a gain is none."""
OF_ACCURACY = 0.005
"""Below so much a gain of accuracy is none, too: a few rows of a thousand."""
_TIMED = (5, 15)  # the first steps are slower than all others
_TOGETHER = 10  # steps after which several processes ask what time it is


def flattened(scores: Sequence[float], patience: int, *, least: float = 0.0) -> bool:
    """Whether the last ``patience`` scores are no better than the best before them.

    Better is what is above it by more than ``GAIN`` of the way from the worst to the best, and than ``least``.

    Args:
        scores: In their order, higher is better.
        patience: At least 1.
        least: At least 0.

    Example:
        >>> flattened([0.2, 0.6, 0.8, 0.8], patience=2), flattened([0.2, 0.6, 0.8, 0.79, 0.801], patience=2)
        (False, True)
    """
    if len(scores) <= patience:
        return False
    before = scores[:-patience]
    return max(scores[-patience:]) - max(before) <= max(least, GAIN * (max(scores) - min(scores)))


def fall_begins(looks: Sequence[tuple[int, float]], patience: int, *, after: int, least: float = 0.0) -> int | None:
    """The step at which the scores had flattened first; None while they rise.

    Args:
        looks: Step and score, in their order.
        patience: Looks in a row that bring nothing.
        after: Looks before this step do not count.
        least: Of a gain that is one.

    Example:
        >>> fall_begins([(10, 0.1), (20, 0.5), (30, 0.5), (40, 0.5), (50, 0.9)], 2, after=20)
        40
    """
    counted = [look for look in looks if look[0] >= after]
    for number in range(len(counted)):
        if flattened([score for _, score in counted[: number + 1]], patience, least=least):
            return counted[number][0]
    return None


def falling(step: int, begin: int, end: int) -> float:
    """What the rate of a step is multiplied by: 1 up to ``begin``, then along a line to 0 at ``end``.

    Example:
        >>> [falling(step, 60, 80) for step in (50, 60, 70, 80)]
        [1.0, 1.0, 0.5, 0.0]
    """
    return min(1.0, max(0.0, (end - step) / max(1, end - begin)))


def logged_looks(metric: str) -> Callable[[TrainerState], list[tuple[int, float]]]:
    """State of training -> step and value of each evaluation by Trainer, of a metric that is better when higher.

    Example:
        >>> state = TrainerState(log_history=[{"step": 5, "eval_accuracy": 0.5}, {"step": 6, "loss": 1.0}])
        >>> logged_looks("eval_accuracy")(state)
        [(5, 0.5)]
    """
    return lambda state: [(int(entry["step"]), entry[metric]) for entry in state.log_history if metric in entry]


class UntilFlat(TrainerCallback):
    """Ends a run when its score has flattened or its minutes are over; its rate then falls to zero first.

    The rate goes along the user's schedule over all steps of the budget. When the last ``patience`` looks have brought
    nothing better, or three quarters of the minutes are over, it is multiplied by a line that reaches zero after a
    third of the steps done so far (or at the cap): a rate that has not fallen leaves figures on the table (Hagele et
    al. 2024). A budget without patience and minutes changes nothing. Where minutes will not do for all steps, the run's
    ``max_steps`` are brought to what they will do for, as its first steps tell.

    Args:
        budget: Steps, patience and minutes.
        looks: State of training -> step and score of each look so far, higher is better.
        ramp: Share of the run's steps before which no score counts.
        least: Gain of the score below which it is none, as ``OF_ACCURACY``.
        clock: Seconds.

    Attributes:
        every: Steps between two looks.
        ended: ``"flat"``, ``"steps"`` or ``"minutes"``.
        steps: That were done.

    Example:
        >>> until = UntilFlat(Budget(2, 8, patience=1), lambda state: [])
        >>> trainer = Trainer(model, args, train_dataset=train, callbacks=[until])
        >>> _ = trainer.train()
        >>> until.ended, until.steps
        ('steps', 2)
    """

    def __init__(
        self,
        budget: Budget,
        looks: Callable[[TrainerState], Sequence[tuple[int, float]]],
        *,
        ramp: float = RAMP,
        least: float = 0.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.budget = budget
        self.looks = looks
        self.ramp = ramp
        self.least = least
        self.clock = clock
        self.every = budget.eval_steps
        self.ended = STEPS
        self.steps = 0
        self._begin: int | None = None
        self._started = self._timed = 0.0
        self._looks = 0
        self._ranks: Ranks | None = None

    @property
    def _seconds(self) -> float:
        return math.inf if self.budget.max_minutes is None else 60 * self.budget.max_minutes

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._started = self.clock()
        self._ranks = Ranks()

    def on_step_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        optimizer: Optimizer = GIVEN,
        lr_scheduler: LRScheduler = GIVEN,
        **kwargs: Any,
    ) -> None:
        if self._begin is None:
            return
        factor = falling(state.global_step, self._begin, state.max_steps)
        for group, rate in zip(optimizer.param_groups, lr_scheduler.get_last_lr(), strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(float(rate) * factor)
            else:
                group["lr"] = rate * factor

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.steps = state.global_step
        alone = self._ranks is None or self._ranks.world == 1
        if self.budget.max_minutes is not None and (alone or self.steps in _TIMED or self.steps % _TOGETHER == 0):
            self._watch_the_clock(args, state)
        if self._begin is None and self.budget.patience is not None:
            looks = self.looks(state)
            if len(looks) > self._looks:
                self._looks = len(looks)
                after = math.ceil(self.ramp * state.max_steps)
                if fall_begins(looks, self.budget.patience, after=after, least=self.least) is not None:
                    self._fall(state, FLAT)

    def _watch_the_clock(self, args: TrainingArguments, state: TrainerState) -> None:
        step, seconds = state.global_step, self._elapsed()
        if step == _TIMED[0]:
            self._timed = seconds
        elif step == _TIMED[1]:
            self._plan(args, state, (seconds - self._timed) / (_TIMED[1] - _TIMED[0]))
        planned = state.max_steps < self.budget.max_steps and step >= (1 - FALL) * state.max_steps
        if self._begin is None and (planned or seconds >= (1 - FALL) * self._seconds):
            self._fall(state, MINUTES)
        elif seconds >= self._seconds and step + 1 < state.max_steps:
            self._end(state, step + 1)

    def _elapsed(self) -> float:
        """Seconds since training began, by the first process's clock."""
        return (self._ranks or Ranks()).exchange(self.clock() - self._started)[0]

    def _plan(self, args: TrainingArguments, state: TrainerState, seconds_a_step: float) -> None:
        """Brings looks, logs and the ramp to as many steps as the minutes will do for."""
        able = max(_TIMED[1] + 1, int(self._seconds / max(seconds_a_step, 1e-9)))
        if able < state.max_steps:
            state.max_steps = able
            self.every = math.ceil(able / self.budget.evaluations)
            if args.eval_strategy == "steps":
                state.eval_steps = state.logging_steps = self.every
            else:
                state.logging_steps = max(1, able // LOG_ENTRIES)

    def _fall(self, state: TrainerState, why: str) -> None:
        self.ended, self._begin = why, state.global_step
        self._end(state, state.global_step + max(1, round(state.global_step * FALL / (1 - FALL))))

    def _end(self, state: TrainerState, step: int) -> None:
        state.max_steps = min(step, state.max_steps)
