"""Tells balancers that an epoch is over."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hf_transfer_kit.multitask.balancing.balancer import Balancer
from hf_transfer_kit.tuning.networks import GIVEN


class BalancingEpochs(TrainerCallback):
    """Calls ``end_epoch`` of every balancer in the model after each epoch, before a checkpoint of that epoch is saved.

    ``dwa`` needs it; the others do not look.

    Example:
        >>> tasks = {"digit": {"type": "classification", "num_labels": 3}, "size": {"type": "regression"}}
        >>> several = MultiTaskModel.from_backbone(model, tasks)
        >>> several.balancer = BALANCERS["dwa"](list(tasks))
        >>> trainer = Trainer(several, args, callbacks=[BalancingEpochs()])
    """

    def on_epoch_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        for module in model.modules():
            if isinstance(module, Balancer):
                module.end_epoch()
