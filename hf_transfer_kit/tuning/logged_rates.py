"""The learning rates of the head and of what is below it in each line of the log, where they differ by depth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainerControl, TrainerState, TrainingArguments

from hf_transfer_kit.backbones import layer_groups
from hf_transfer_kit.tuning.networks import GIVEN
from hf_transfer_kit.tuning.scalars import ScalarCallback
from hf_transfer_kit.tuning.step_rates import Factors, factors_of


class LoggedRates(ScalarCallback):
    """Logs ``learning_rate/head`` and ``learning_rate/body``, each the highest rate at which a part of it is trained.

    Trainer's own ``learning_rate`` is that of the optimizer's first group, with rates by depth the lowest of all. As
    Trainer's, the rates are those of the step that was just done, factors of a stage included; 0 where all is frozen.
    """

    def __init__(self) -> None:
        self._of_groups: list[float] = []
        self._factors: Factors = {}
        self._now: dict[str, float] = {}

    def scalars(self, model: nn.Module) -> Mapping[str, torch.Tensor | float]:
        """The two rates."""
        return self._now

    def on_optimizer_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        optimizer: torch.optim.Optimizer = GIVEN,
        **kwargs: Any,
    ) -> None:
        inner = getattr(optimizer, "optimizer", optimizer)  # whose scheduler is about to move on
        self._of_groups = [float(group["lr"]) for group in inner.param_groups]
        self._factors = factors_of(inner)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        model: nn.Module = GIVEN,
        optimizer: torch.optim.Optimizer = GIVEN,
        **kwargs: Any,
    ) -> None:
        inner = getattr(optimizer, "optimizer", optimizer)
        if inner is not None and len(self._of_groups) == len(inner.param_groups) and _steps(inner, model):
            groups = zip(self._of_groups, (group["params"] for group in inner.param_groups), strict=True)
            self._now = rates_by_part(model, groups, self._factors)
        super().on_log(args, state, control, logs=logs, model=model, optimizer=optimizer, **kwargs)


def _steps(optimizer: torch.optim.Optimizer, model: nn.Module) -> bool:
    """Whether the optimizer holds parameters of the model; that of DeepSpeed holds others in their place."""
    known = {id(parameter) for parameter in model.parameters()}
    return any(id(parameter) in known for group in optimizer.param_groups for parameter in group["params"])


def rates_by_part(
    model: nn.Module, groups: Iterable[tuple[float, Sequence[Tensor]]], factors: Factors
) -> dict[str, float]:
    """``learning_rate/head`` and ``learning_rate/body``; only the body's for a model without a head.

    Args:
        model: The model that is trained.
        groups: For each of the optimizer's groups, its rate and its parameters.
        factors: What single parameters' rates were multiplied by.
    """
    head = layer_groups(model).head
    in_head = set() if head is None else {id(parameter) for parameter in head.parameters.values()}
    rates = {"learning_rate/body": 0.0, **({} if head is None else {"learning_rate/head": 0.0})}
    for rate, parameters in groups:
        for parameter in parameters:
            if parameter.requires_grad:
                part = "learning_rate/head" if id(parameter) in in_head else "learning_rate/body"
                rates[part] = max(rates[part], rate * factors.get(id(parameter), 1.0))
    return rates


def log_rates(trainer: Trainer | None) -> None:
    """Gives a Trainer its ``LoggedRates``, once."""
    if trainer is not None and not any(isinstance(c, LoggedRates) for c in trainer.callback_handler.callbacks):
        trainer.add_callback(LoggedRates())
