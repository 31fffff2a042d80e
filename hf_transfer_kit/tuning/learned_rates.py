"""At which learning rate each parameter really learned, read from the optimizer's own steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hf_transfer_kit.tuning.networks import GIVEN, NetworkCallback


class LearnedRates(NetworkCallback):
    """Notes the highest learning rate with which each parameter was stepped, whatever strategy or schedule set it.

    Give it to the Trainer after callbacks that change rates, so that its look at the optimizer comes after theirs. A
    parameter without a gradient in a step did not learn in it. Nothing is noted where the optimizer holds other tensors
    than the model (flattened shards), nor in a run that is resumed, whose first steps were not seen.

    Attributes:
        highest: Name in ``model.named_parameters()`` -> highest rate, above 0; empty where nothing is known.

    Example:
        >>> rates = LearnedRates()
        >>> trainer = Trainer(model, args, train_dataset=train, callbacks=[rates])
        >>> _ = trainer.train()
        >>> rates.highest["classifier.1.weight"] == args.learning_rate
        True
    """

    def __init__(self) -> None:
        self.highest: dict[str, float] = {}
        self._names: dict[int, str] = {}
        self._handle: torch.utils.hooks.RemovableHandle | None = None

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        optimizer: torch.optim.Optimizer = GIVEN,
        **kwargs: Any,
    ) -> None:
        self._remove()
        self.highest = {}
        optimizer = getattr(optimizer, "optimizer", optimizer)
        if state.global_step == 0 and hasattr(optimizer, "register_step_pre_hook"):
            self._names = {id(parameter): name for name, parameter in model.named_parameters()}
            self._handle = optimizer.register_step_pre_hook(self._note)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._remove()

    def _note(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        for group in optimizer.param_groups:
            rate = float(group["lr"])
            for parameter in group["params"]:
                name = self._names.get(id(parameter))
                if name is not None and parameter.grad is not None and rate > self.highest.get(name, 0.0):
                    self.highest[name] = rate

    def _remove(self) -> None:
        if self._handle is not None:
            self._handle.remove()
            self._handle = None


def rates_of(callbacks: list[TrainerCallback]) -> Mapping[str, float]:
    """What the ``LearnedRates`` among a Trainer's callbacks noted; empty where there is none.

    Example:
        >>> callbacks = [LearnedRates()]
        >>> trainer = Trainer(model, args, train_dataset=train, callbacks=callbacks)
        >>> _ = trainer.train()
        >>> len(rates_of(callbacks)) == len(list(model.parameters()))
        True
    """
    return next((dict(found.highest) for found in callbacks if isinstance(found, LearnedRates)), {})
