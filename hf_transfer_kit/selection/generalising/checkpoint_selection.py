"""Which weights of a run are kept: best on validation rows of what it was trained on."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hf_transfer_kit.backbones.unwrapping import plain_model
from hf_transfer_kit.tuning.networks import GIVEN


class KeepBestOnSources(TrainerCallback):
    """Puts the weights with the highest ``eval_accuracy`` back into the model when training ends; nothing is on disk.

    Of equal ones those with the lower ``loss`` are kept. Domains that are not trained on have no part in it (Gulrajani
    and Lopez-Paz 2021, "training-domain validation").

    Args:
        loss: Name of the loss among the metrics.
    """

    def __init__(self, loss: str) -> None:
        self.loss = loss
        self._best: tuple[float, float] | None = None
        self._kept: dict[str, Tensor] = {}
        self._running = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._best, self._kept, self._running = None, {}, True

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] = GIVEN,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        if not self._running:
            return
        reached = (metrics["eval_accuracy"], -metrics[self.loss])
        if self._best is None or reached > self._best:
            self._best = reached
            self._kept = {name: value.detach().clone() for name, value in plain_model(model)[0].state_dict().items()}

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        self._running = False
        if self._kept:
            plain_model(model)[0].load_state_dict(self._kept)
            self._kept = {}
