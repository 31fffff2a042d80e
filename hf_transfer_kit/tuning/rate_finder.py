"""Learning-rate range test: the rate grows with every step until the loss runs away (Smith 2017)."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones.seeded_eval_mode import preserved_random_state
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.tuning.layouts import check_layout
from hf_transfer_kit.tuning.networks import GIVEN
from hf_transfer_kit.values import RateCurve

_ELSEWHERE = "The rate found there holds here too, for the same number of rows a step."


@checked_arguments(own_words_first=True)
def find_learning_rate(
    make_trainer: Callable[[], Trainer],
    *,
    start: float = 1e-7,
    end: float = 10.0,
    steps: int = 100,
    smoothing: float = 0.9,
    diverged: float = 4.0,
) -> RateCurve:
    """Trains for a few steps at exponentially growing rates; afterwards everything is as it was before, bit for bit.

    The run is that of the Trainer made: its data order, optimizer, accumulation, precision and callbacks (frozen
    layers, penalties). Parameter groups keep the ratio of their rates, so ``layerwise_optimizer`` is respected, and
    rates are those of ``args.learning_rate``. Nothing is evaluated, saved or sent to a tracker. Schedules of
    callbacks see a run of ``steps`` steps.

    Args:
        make_trainer: Makes a fresh Trainer for the model, such as ``lambda: Trainer(model, args, ...)``; that Trainer
            is used up.
        start: Rate of the first step, > 0.
        end: Rate of the last, > ``start``.
        steps: Number of optimizer steps, at least 5.
        smoothing: Decay of the running mean of the loss, in [0, 1).
        diverged: The test stops when the smoothed loss exceeds this multiple of its best, > 1.

    Returns:
        Rates, losses and two suggestions.

    Raises:
        SettingsError: When an argument is out of range, or the Trainer's own rate is 0, so that groups have no ratio.

    Example:
        >>> curve = find_learning_rate(lambda: Trainer(model, args, train_dataset=train), steps=5)
        >>> len(curve.rates) <= 5
        True
    """
    _check(start, end, steps, smoothing, diverged)
    if isinstance(make_trainer, Trainer) or not callable(make_trainer):
        raise SettingsError(
            f"find_learning_rate makes a fresh Trainer by itself and was given a {type(make_trainer).__name__}: pass a "
            "function, find_learning_rate(lambda: Trainer(...))."
        )
    with preserved_random_state():
        with _seen_models() as seen:
            trainer = make_trainer()
        if not isinstance(trainer, Trainer):
            raise SettingsError(
                f"find_learning_rate was given a function that makes a {type(trainer).__name__}: let it return a "
                "fresh Trainer."
            )
        model = cast(nn.Module, trainer.model)
        check_layout("find_learning_rate, which puts a model back as it was,", model, trainer, instead=_ELSEWHERE)
        before = seen.get(id(model)) or _Snapshot(model)
        test = RangeTest(start=start, end=end, steps=steps, smoothing=smoothing, diverged=diverged)
        trainer.args = _arguments(trainer, steps)
        for callback in list(trainer.callback_handler.callbacks):
            if _is_in_the_way(callback):
                trainer.remove_callback(callback)
        trainer.add_callback(test)
        try:
            trainer.train()
        finally:
            trainer.accelerator.unwrap_model(trainer.model_wrapped, keep_fp32_wrapper=False)
            trainer.accelerator.free_memory()
            before.restore()
    return rate_curve(test.rates, test.losses, smoothing=smoothing)


def rate_at(step: int, *, start: float, end: float, steps: int) -> float:
    """start * (end / start) ** (step / (steps - 1)): exponential in the step, 0 <= step < steps."""
    return start * (end / start) ** (step / (steps - 1))


def smoothed_losses(losses: Sequence[float], smoothing: float) -> list[float]:
    """Exponential running mean, corrected for its start from zero, so that the first value is the first loss."""
    mean, result = 0.0, []
    for index, loss in enumerate(losses):
        mean = smoothing * mean + (1 - smoothing) * loss
        result.append(mean / (1 - smoothing ** (index + 1)))
    return result


def rate_curve(rates: Sequence[float], losses: Sequence[float], *, smoothing: float) -> RateCurve:
    """The curve with its suggestions: where the smoothed loss falls fastest over log(rate), and minimum / 10.

    The steepest descent is looked for before the minimum. A loss that never falls gives the first rate twice.
    """
    finite = [index for index, loss in enumerate(losses) if math.isfinite(loss)]
    last = len(losses) if len(finite) == len(losses) else next(i for i in range(len(losses)) if i not in set(finite))
    rates, losses = list(rates[:last]), list(losses[:last])
    if not losses:
        raise SettingsError(
            "The loss was not finite at the first step of the rate test, so there is no curve. Check the data and the "
            "model, or begin at a smaller rate with start=."
        )
    smoothed = smoothed_losses(losses, smoothing)
    lowest = int(np.argmin(smoothed))
    steepest = 0
    if lowest > 0:
        slopes = np.gradient(np.asarray(smoothed), np.log(rates))
        steepest = int(np.argmin(slopes[: lowest + 1]))
    return RateCurve(
        rates=tuple(rates),
        losses=tuple(losses),
        smoothed=tuple(smoothed),
        steepest=rates[steepest],
        tenth_of_minimum=rates[lowest] / 10 if lowest > 0 else rates[0],
    )


class RangeTest(TrainerCallback):
    """Sets the rate before each step and stops when the loss runs away. The arguments are find_learning_rate's."""

    def __init__(self, *, start: float, end: float, steps: int, smoothing: float, diverged: float) -> None:
        self.start, self.end, self.steps = start, end, steps
        self.smoothing, self.diverged = smoothing, diverged
        self.rates: list[float] = []
        self.losses: list[float] = []

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        optimizer: torch.optim.Optimizer = GIVEN,
        **kwargs: Any,
    ) -> None:
        if not args.learning_rate > 0:
            raise SettingsError(
                f"learning_rate={args.learning_rate} in the Trainer's arguments: the rate test keeps the ratio of each "
                "parameter group's rate to it, so it must be above 0, such as 1e-3."
            )
        # Only some schedulers note the rate that a group began with.
        rates = [group.get("initial_lr", group["lr"]) for group in optimizer.param_groups]
        self._factors = [rate / args.learning_rate for rate in rates]

    def on_step_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        optimizer: torch.optim.Optimizer = GIVEN,
        **kwargs: Any,
    ) -> None:
        rate = rate_at(state.global_step, start=self.start, end=self.end, steps=self.steps)
        self.rates.append(rate)
        for group, factor in zip(optimizer.param_groups, self._factors, strict=True):
            group["lr"] = rate * factor

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] = GIVEN,
        **kwargs: Any,
    ) -> None:
        if logs is None or "loss" not in logs:
            return
        self.losses.append(float(logs["loss"]))
        smoothed = smoothed_losses(self.losses, self.smoothing)
        if not math.isfinite(smoothed[-1]) or smoothed[-1] > self.diverged * abs(min(smoothed)):
            control.should_training_stop = True


def _arguments(trainer: Trainer, steps: int) -> TrainingArguments:
    args = copy.copy(trainer.args)
    args.max_steps = steps
    args.eval_strategy = args.save_strategy = "no"
    args.eval_on_start = args.load_best_model_at_end = args.push_to_hub = False
    args.logging_strategy, args.logging_steps, args.logging_first_step = "steps", 1, False
    args.logging_nan_inf_filter = False
    trainer.state.logging_steps = 1
    return args


def _is_in_the_way(callback: TrainerCallback) -> bool:
    shows = isinstance(callback, (PrinterCallback, ProgressCallback, EarlyStoppingCallback))
    return shows or type(callback).__module__.startswith("transformers.integrations")


class _Snapshot:
    """All of a model that a run and its parts may change: values, what asks for gradients, modes, hooks, children."""

    def __init__(self, model: nn.Module) -> None:
        tensors = [*model.parameters(), *model.buffers()]
        self._values = [(tensor, tensor.detach().clone()) for tensor in tensors]
        self._asking = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
        # What an instance has of its own: hooks, children, a shadowed ``train``, what callbacks noted beside it.
        self._own = [(module, dict(vars(module))) for module in model.modules()]
        # Their dicts are refilled rather than replaced, for the handles of hooks hold them.
        self._inside = [(d, dict(d)) for _, own in self._own for d in own.values() if isinstance(d, dict)]

    @torch.no_grad()
    def restore(self) -> None:
        """Puts everything back, in place."""
        for own, before in [*((vars(module), own) for module, own in self._own), *self._inside]:
            own.clear()
            own.update(before)
        for parameter, asked in self._asking:
            parameter.requires_grad_(asked)
            parameter.grad = None
        for tensor, value in self._values:
            tensor.copy_(value)


@contextmanager
def _seen_models() -> Iterator[dict[int, _Snapshot]]:
    """Models as they are handed to a Trainer while the block runs: some parts act when it is made."""
    seen: dict[int, _Snapshot] = {}
    make = Trainer.__init__

    @functools.wraps(make)
    def watched(self: Trainer, model: Any = None, *args: Any, **kwargs: Any) -> None:
        if isinstance(model, nn.Module):
            seen.setdefault(id(model), _Snapshot(model))
        make(self, model, *args, **kwargs)

    Trainer.__init__ = watched  # type: ignore[method-assign]  # for as long as this lasts
    try:
        yield seen
    finally:
        Trainer.__init__ = make  # type: ignore[method-assign]


def _check(start: float, end: float, steps: int, smoothing: float, diverged: float) -> None:
    if not 0 < start < end:
        raise SettingsError(f"start={start}, end={end}: give two rates above 0, the first the smaller.")
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 5:
        raise SettingsError(f"steps={steps} is too few for a curve; give a whole number of at least 5.")
    if not 0 <= smoothing < 1:
        raise SettingsError(f"smoothing={smoothing} is outside [0, 1).")
    if not diverged > 1:
        raise SettingsError(f"diverged={diverged}: give a multiple of the best loss above 1, such as 4.")
