"""Stages of training as a pure function of progress: which stage a step is in, and what it trains.

Nothing here happens *at* a step: the stage is computed anew from the number of finished steps and the evaluations so
far, both of which a checkpoint keeps, so that a resumed run is always where an uninterrupted one would be.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.options import check_number
from hf_transfer_kit.tuning.checking import is_number

_SPAN = re.compile(r"\s*(\d+(?:\.\d*)?)\s*(epochs?|steps?|%)\s*")
_ROUNDING = 1e-6
"""Steps by which a product of floats may miss the whole number it stands for."""


@dataclass(frozen=True)
class Horizon:
    """How long training is.

    Args:
        max_steps: Optimizer steps in all.
        steps_per_epoch: Optimizer steps in an epoch; None when the dataset has no length.
    """

    max_steps: int
    steps_per_epoch: int | None


@dataclass(frozen=True)
class Plateau:
    """When a metric has stopped improving.

    Args:
        metric: Name as in Trainer's logs; ``eval_`` is put before it where missing.
        patience: Evaluations in a row without improvement that end the stage, >= 1.
        min_delta: What counts as improvement, >= 0.
        greater_is_better: By default False for names that end in ``loss``, else True, as in Trainer.
    """

    metric: str
    patience: int
    min_delta: float = 0.0
    greater_is_better: bool | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.metric, str) or not self.metric:
            raise SettingsError(f"metric={self.metric!r} is no name of a metric, such as 'eval_loss'.")
        if isinstance(self.patience, bool) or not isinstance(self.patience, int) or self.patience < 1:
            raise SettingsError(f"patience={self.patience!r} must be a whole number of evaluations, at least 1.")
        check_number("early_stopping", "min_delta", self.min_delta, low=0)
        if not isinstance(self.greater_is_better, bool | None):
            raise SettingsError(f"greater_is_better={self.greater_is_better!r} must be true or false.")

    @property
    def key(self) -> str:
        """The metric's name in Trainer's logs."""
        return self.metric if self.metric.startswith("eval_") else f"eval_{self.metric}"

    def ends_at(self, start: int, evaluations: Iterable[tuple[int, float]]) -> int | None:
        """Step of the evaluation at which patience ran out in a stage that began at ``start``; None when it did not.

        Args:
            start: First step of the stage. An evaluation at it is what later ones are compared with.
            evaluations: (steps finished, value), in order.
        """
        greater = self.greater_is_better
        sign = 1.0 if (not self.key.endswith("loss") if greater is None else greater) else -1.0
        best, waited = None, 0
        for step, value in evaluations:
            if step < start:
                continue
            height = -math.inf if math.isnan(value) else sign * value
            if best is None or height > best + self.min_delta:
                best, waited = height, 0
            else:
                waited += step > start
            if waited >= self.patience:
                return step
        return None


@dataclass(frozen=True)
class Stage:
    """One stage.

    Args:
        title: For people: what is trained.
        trainable: Names of the parameters that move.
        until: Steps finished when the stage ends; None lasts to the end of training.
        factors: Parameter name -> factor on its learning rate, where that is not 1.
        plateau: Ends the stage earlier.
    """

    title: str
    trainable: frozenset[str]
    until: int | None = None
    factors: Mapping[str, float] = field(default_factory=dict)
    plateau: Plateau | None = None


def step_of(span: str | float, horizon: Horizon) -> int:
    """Number of finished steps that a span of training means, rounded up.

    Args:
        span: ``"2 epochs"``, ``"200 steps"``, ``"30 %"``, or a number in (0, 1]: the share of training.
        horizon: How long training is.

    Raises:
        SettingsError: When it cannot be read, or counts epochs of a dataset without a length.
    """
    return steps_in(*parse_span(span), horizon)


def steps_in(amount: float, unit: str, horizon: Horizon) -> int:
    """Number of steps in ``amount`` units (``epochs``, ``steps`` or ``share``) of training, rounded up.

    Raises:
        SettingsError: When it counts epochs of a dataset without a length.
    """
    if unit == "epochs" and horizon.steps_per_epoch is None:
        raise SettingsError(
            f"{amount:g} epochs cannot be counted, since the training dataset has no length: give steps or a share."
        )
    size = {"steps": 1, "share": horizon.max_steps, "epochs": horizon.steps_per_epoch or 0}[unit]
    return math.ceil(amount * size - _ROUNDING)


def parse_span(span: str | float) -> tuple[float, str]:
    """Amount and unit (``epochs``, ``steps`` or ``share``) of a span such as ``step_of`` takes.

    Raises:
        SettingsError: When it cannot be read or is out of range.
    """
    if is_number(span):
        amount, unit = float(span), "share"
    elif isinstance(span, str) and (match := _SPAN.fullmatch(span)):
        amount, unit = float(match[1]), match[2].rstrip("s") + "s"
        if unit == "%s":
            amount, unit = amount / 100, "share"
    else:
        raise SettingsError(_unreadable(span))
    if not 0 < amount < math.inf or (unit == "share" and amount > 1):
        raise SettingsError(_unreadable(span))
    return amount, unit


def _unreadable(span: object) -> str:
    return (
        f'{span!r} is no span of training: give "2 epochs", "200 steps", or a number above 0 and up to 1, the share '
        "of training."
    )


def stage_at(step: int, stages: Sequence[Stage], history: Sequence[Mapping[str, float]] = ()) -> tuple[int, int]:
    """Index of the stage that the step after ``step`` finished ones belongs to, and the stage's first step.

    Args:
        step: Finished optimizer steps.
        stages: In order. The last lasts to the end.
        history: Trainer's ``state.log_history``; read for plateaus only, up to ``step``.
    """
    start = 0
    for index, stage in enumerate(stages[:-1]):
        end = end_of(stage, start, step, history)
        if end is None or step < end:
            return index, start
        start = max(start, end)
    return len(stages) - 1, start


def end_of(stage: Stage, start: int, step: int, history: Sequence[Mapping[str, float]]) -> int | None:
    """Finished steps at which a stage that began at ``start`` ends, as far as known after ``step``; None if not."""
    ends = [] if stage.until is None else [stage.until]
    if stage.plateau is not None:
        key = stage.plateau.key
        values = {int(entry["step"]): entry[key] for entry in history if key in entry and entry["step"] <= step}
        plateau = stage.plateau.ends_at(start, sorted(values.items()))
        ends += [] if plateau is None else [plateau]
    return min(ends, default=None)
