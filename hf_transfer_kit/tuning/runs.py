"""What a part hangs on a model belongs to one run of a Trainer, also to one that ends by an exception.

Trainer calls ``on_train_end`` only where training ends by itself. So a Trainer that has such a part gets a ``train``
that tells its parts when an exception, or an interrupt from the keyboard, leaves it.
"""

from __future__ import annotations

from typing import Any, cast

from torch import nn
from transformers import Trainer

from hf_transfer_kit.tuning.calling import calling_trainer
from hf_transfer_kit.tuning.networks import network_of


class RunPart:
    """A callback that changes the model for the time of a run. Subclasses call ``guard_run`` in ``on_init_end``."""

    def before_run(self, model: nn.Module) -> None:
        """Called before ``Trainer.train`` does anything, checkpoints included. Nothing by default."""

    def leave(self, model: nn.Module) -> None:
        """Takes back what was done to the model; called however a run ends, and not harmful twice."""
        raise NotImplementedError


def guard_run() -> None:
    """Sees to it that the parts of the Trainer that is being made leave its model when training is broken off."""
    trainer = calling_trainer()
    if trainer is not None and not isinstance(vars(trainer).get("train"), _GuardedTrain):
        vars(trainer)["train"] = _GuardedTrain(trainer)


class _GuardedTrain:
    """``Trainer.train`` of one Trainer, with its parts told."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer, self._train = trainer, trainer.train

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        for part in self._parts():
            part.before_run(cast(nn.Module, network_of(self._trainer.model)))
        try:
            return self._train(*args, **kwargs)
        except BaseException:
            for part in self._parts():
                part.leave(cast(nn.Module, network_of(self._trainer.model)))
            raise

    def _parts(self) -> list[RunPart]:
        if self._trainer.model is None:  # before ``model_init``
            return []
        return [part for part in self._trainer.callback_handler.callbacks if isinstance(part, RunPart)]
