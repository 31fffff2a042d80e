"""How strongly domains are confused as training goes on: a pure function of progress, written into the model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import TrainerControl, TrainerState, TrainingArguments

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones.unwrapping import plain_model
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.tuning.all_rows import check_together
from hf_transfer_kit.tuning.layouts import check_layout
from hf_transfer_kit.tuning.networks import GIVEN, NetworkCallback


def dann_strength(progress: float, *, gamma: float = 10.0) -> float:
    """``2 / (1 + exp(-gamma p)) - 1`` (Ganin and Lempitsky, 2015, section 4): 0 at first, near 1 soon after.

    Args:
        progress: How far training is, in [0, 1].
        gamma: How soon; at the default half of the strength is reached at p = 0.11.

    Example:
        >>> [round(dann_strength(p), 2) for p in (0.0, 0.11, 0.5, 1.0)]
        [0.0, 0.5, 0.99, 1.0]
    """
    return 2.0 / (1.0 + math.exp(-gamma * progress)) - 1.0


def linear_strength(progress: float) -> float:
    """The progress itself.

    Example:
        >>> linear_strength(0.3)
        0.3
    """
    return progress


def constant_strength(progress: float) -> float:
    """1 at every progress.

    Example:
        >>> constant_strength(0.3)
        1.0
    """
    return 1.0


SCHEDULES: Mapping[str, Callable[[float], float]] = {
    "dann": dann_strength,
    "linear": linear_strength,
    "constant": constant_strength,
}


_ROUNDING = 1e-6
_NO_BACKWARD = "Or choose a method that takes none, such as dann."


class AdversarialSchedule(NetworkCallback):
    """Writes how far training is, and the strength that follows from it, into the model before every step.

    Both are computed anew from the number of finished steps, which a checkpoint keeps: the first step after a resume
    has the strength that it would have had without the stop. At every epoch ``DomainPairs`` learn which one it is, and
    pair their rows anew.

    Args:
        schedule: ``"dann"``, ``"linear"``, ``"constant"``, or a function from progress in [0, 1] to a number in [0, 1].
        highest: What the schedule is multiplied by, at least 0.
        gamma: Of ``"dann"``, above 0; None is 10.
        within: Share of the run's steps after which the progress is 1, in (0, 1].

    Raises:
        SettingsError: When the schedule is unknown, a number out of its range, or ``gamma`` given to another schedule;
            when training begins: when the model holds no ``strength`` to write, or its method cannot be sharded.

    Example:
        >>> pairs = DomainPairs(train, target)
        >>> adapted = DomainAdversarialModel.from_classifier(model, method="dann")
        >>> callbacks = [AdversarialSchedule(highest=0.5)]
        >>> trainer = Trainer(
        ...     adapted, args, train_dataset=pairs, data_collator=DomainCollator(collator), callbacks=callbacks
        ... )
        >>> _ = trainer.train()
        >>> round(float(adapted.strength), 3)
        0.493
    """

    @checked_arguments(own_words_first=True)
    def __init__(
        self,
        schedule: str | Callable[[float], float] = "dann",
        *,
        highest: float = 1.0,
        gamma: float | None = None,
        within: float = 1.0,
    ) -> None:
        if not callable(schedule) and schedule not in SCHEDULES:
            raise SettingsError(
                f"schedule={schedule!r} is unknown; choose {', '.join(map(repr, SCHEDULES))}, or give a function from "
                "progress in [0, 1] to strength."
            )
        if not 0 <= highest < math.inf:
            raise SettingsError(f"highest={highest} must be at least 0: below, domains would be driven apart.")
        if gamma is not None and (schedule != "dann" or not 0 < gamma < math.inf):
            raise SettingsError(f"gamma={gamma} must be above 0, and belongs to schedule='dann' alone.")
        if not 0 < within <= 1:
            raise SettingsError(f"within={within} is a share of the run's steps: above 0, at most 1.")
        self.within = within
        self.schedule = schedule
        self.highest = highest
        self.gamma = gamma

    def strength(self, progress: float) -> float:
        """Lambda at a progress in [0, 1]."""
        if callable(self.schedule):
            return self.highest * float(self.schedule(progress))
        if self.gamma is not None:
            return self.highest * dann_strength(progress, gamma=self.gamma)
        return self.highest * SCHEDULES[self.schedule](progress)

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        check_together(args)
        objective: Any = getattr(plain_model(model)[0], "objective", None)
        if getattr(objective, "runs_backward", False):
            check_layout(f"{objective.name}, which takes a gradient inside the forward,", model, instead=_NO_BACKWARD)
        self._write(state, model)

    def on_step_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        self._write(state, model)

    def on_epoch_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        train_dataloader: DataLoader = GIVEN,
        **kwargs: Any,
    ) -> None:
        pairs: Any = getattr(train_dataloader, "dataset", None)
        if hasattr(pairs, "reshuffle"):
            # A resumed run begins with a part of an epoch done.
            pairs.reshuffle(int((state.epoch or 0) + _ROUNDING))

    def _write(self, state: TrainerState, model: nn.Module) -> None:
        progress = min(1.0, state.global_step / max(1, self.within * state.max_steps))
        inner, _ = plain_model(model)
        for name, value in (("progress", progress), ("strength", self.strength(progress))):
            buffer = getattr(inner, name, None)
            if not isinstance(buffer, Tensor):
                raise SettingsError(
                    f"AdversarialSchedule writes the buffers 'progress' and 'strength' of a DomainAdversarialModel, "
                    f"but {type(inner).__name__} has no {name!r}. Train a DomainAdversarialModel, or leave the "
                    "callback out."
                )
            # In place: a new tensor, or a number, would recompile a compiled step.
            buffer.fill_(value)
