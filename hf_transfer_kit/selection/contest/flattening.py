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
from transformers.trainer_callback import ExportableState

from hf_transfer_kit.features.ranks import Ranks
from hf_transfer_kit.selection.contest.budget import Budget
from hf_transfer_kit.selection.contest.run_settings import LOG_ENTRIES
from hf_transfer_kit.tuning.calling import calling_trainer
from hf_transfer_kit.tuning.conservative.anchor import stored_attributes
from hf_transfer_kit.tuning.freezing.staged import StagedTraining
from hf_transfer_kit.tuning.networks import GIVEN

Look = tuple[int, float | tuple[float, ...]]
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


def fall_begins(looks: Sequence[Look], patience: int, *, after: int, least: float = 0.0) -> int | None:
    """The step at which the scores had flattened first; None while they, or one of several, rise.

    Args:
        looks: Step and score, or scores, in their order.
        patience: Looks in a row that bring nothing.
        after: Looks before this step do not count.
        least: Of a gain that is one.

    Example:
        >>> fall_begins([(10, 0.1), (20, 0.5), (30, 0.5), (40, 0.5), (50, 0.9)], 2, after=20)
        40
        >>> fall_begins([(10, (0.5, 0.1)), (20, (0.5, 0.3)), (30, (0.5, 0.3))], 1, after=0)
        30
    """
    counted = [look for look in looks if look[0] >= after]
    for number in range(len(counted)):
        each = zip(
            *(scores if isinstance(scores, tuple) else (scores,) for _, scores in counted[: number + 1]), strict=True
        )
        if all(flattened(curve, patience, least=least) for curve in each):
            return counted[number][0]
    return None


def falling(step: int, begin: int, end: int) -> float:
    """What the rate of a step is multiplied by: 1 up to ``begin``, then along a line to 0 at ``end``.

    Example:
        >>> [falling(step, 60, 80) for step in (50, 60, 70, 80)]
        [1.0, 1.0, 0.5, 0.0]
    """
    return min(1.0, max(0.0, (end - step) / max(1, end - begin)))


def logged_looks(metric: str, sign: int = 1) -> Callable[[TrainerState], list[Look]]:
    """State of training -> step and value of each evaluation by Trainer, times ``sign`` so that higher is better.

    Example:
        >>> state = TrainerState(log_history=[{"step": 5, "eval_accuracy": 0.5}, {"step": 6, "loss": 1.0}])
        >>> logged_looks("eval_accuracy")(state)
        [(5, 0.5)]
    """
    return lambda state: [(int(entry["step"]), sign * entry[metric]) for entry in state.log_history if metric in entry]


class UntilFlat(TrainerCallback, ExportableState):
    """Ends a run when its score has flattened or its minutes are over; its rate then falls to zero first.

    The rate goes along the user's schedule over all steps of the budget. When the last ``patience`` looks have brought
    nothing better since everything learns that is to (``StagedTraining``), or three quarters of the minutes are over,
    it is multiplied by a line that reaches zero after a third of the steps done so far (or at the cap): a rate that has
    not fallen leaves figures on the table (Hagele et al. 2024). A budget without patience and minutes changes nothing.
    Where minutes will not do for all steps, the run's ``max_steps`` are brought to what they will do for, as its first
    steps tell. Checkpoints of Trainer keep how far it is, so that a resumed run goes on where an uninterrupted one
    would be.

    Args:
        budget: Steps, patience and minutes.
        looks: State of training -> step and score of each look so far, higher is better; of several scores, a tuple,
            all must have flattened.
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
        looks: Callable[[TrainerState], Sequence[Look]],
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
        self._max_steps: int | None = None  # where they are no longer those of the budget
        self._started: float | None = None
        self._timed = self._before = 0.0
        self._looks = 0
        self._ranks: Ranks | None = None
        self._schedules: list[StagedTraining] = []

    @property
    def _seconds(self) -> float:
        return math.inf if self.budget.max_minutes is None else 60 * self.budget.max_minutes

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._started = self.clock()
        self._ranks = Ranks()
        trainer = calling_trainer()
        others = trainer.callback_handler.callbacks if trainer is not None else []
        self._schedules = [other for other in others if isinstance(other, StagedTraining)]
        self._go_on(args, state)

    def state(self) -> dict[str, Any]:
        """What Trainer writes into a checkpoint."""
        kept = {
            "ended": self.ended,
            "begin": self._begin,
            "max_steps": self._max_steps,
            "seconds": self._seconds_so_far(),
        }
        return {"args": {}, "attributes": kept}

    def _go_on(self, args: TrainingArguments, state: TrainerState) -> None:
        """Takes up what a checkpoint kept, where there is one."""
        kept: dict[str, Any] = {}
        if state.global_step:
            kept = next(iter(stored_attributes(state, type(self).__name__)), {})
        self.ended, self._begin = kept.get("ended", STEPS), kept.get("begin")
        self._before, self._looks = kept.get("seconds", 0.0), 0
        self._max_steps = kept.get("max_steps")
        if self._max_steps is not None:
            state.max_steps = min(state.max_steps, self._max_steps)
            if self._begin is None:
                self._look_as_often(args, state)

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
                after = self._counted_from(state)
                if after is None:
                    return
                if fall_begins(looks, self.budget.patience, after=after, least=self.least) is not None:
                    self._fall(state, FLAT)

    def _counted_from(self, state: TrainerState) -> int | None:
        """The step before which no look counts; None while not yet everything learns that is to."""
        begins = [schedule.last_stage_from(state) for schedule in self._schedules]
        known = [begin for begin in begins if begin is not None]
        return None if len(known) < len(begins) else max([math.ceil(self.ramp * state.max_steps), *known])

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
        return (self._ranks or Ranks()).exchange(self._seconds_so_far())[0]

    def _seconds_so_far(self) -> float:
        return self._before + (0.0 if self._started is None else self.clock() - self._started)

    def _plan(self, args: TrainingArguments, state: TrainerState, seconds_a_step: float) -> None:
        """Brings looks, logs and the ramp to as many steps as the minutes will do for."""
        able = max(_TIMED[1] + 1, int(self._seconds / max(seconds_a_step, 1e-9)))
        if able < state.max_steps:
            self._end(state, able)
            self._look_as_often(args, state)

    def _look_as_often(self, args: TrainingArguments, state: TrainerState) -> None:
        """As many looks in the steps that are left as were asked for in all."""
        self.every = math.ceil(state.max_steps / self.budget.evaluations)
        if args.eval_strategy == "steps":
            state.eval_steps = state.logging_steps = self.every
        else:
            state.logging_steps = max(1, state.max_steps // LOG_ENTRIES)

    def _fall(self, state: TrainerState, why: str) -> None:
        self.ended, self._begin = why, state.global_step
        self._end(state, state.global_step + max(1, round(state.global_step * FALL / (1 - FALL))))

    def _end(self, state: TrainerState, step: int) -> None:
        self._max_steps = state.max_steps = min(step, state.max_steps)
