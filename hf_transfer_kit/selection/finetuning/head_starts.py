"""How a run's fresh head begins: solved on the network's features before training, or at random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from torch import nn
from transformers import (
    PreTrainedModel,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    default_data_collator,
)

from hf_transfer_kit.backbones.unwrapping import plain_model
from hf_transfer_kit.data import PreparedData
from hf_transfer_kit.data.class_balance import classes_of
from hf_transfer_kit.data.label_kinds import CLASSIFICATION
from hf_transfer_kit.errors import DataError, ModelError, SettingsError
from hf_transfer_kit.features.body_fingerprint import features_fingerprint
from hf_transfer_kit.features.head_reading import HeadReader
from hf_transfer_kit.features.solved_heads import SOLVABLE, SolvedHead, solve_head
from hf_transfer_kit.selection.strategies import Strategy
from hf_transfer_kit.selection.strategies.strategy import PROBE
from hf_transfer_kit.tuning.beside_checkpoints import to_write

FILE = "solved_head.safetensors"
_READ_AT_ONCE = 32


class HeadStarts:
    """Heads for the runs of a comparison, each solved once: all strategies and seeds share the network's features.

    Args:
        data: Whose training rows are fitted; validation rows choose the strength. Classes weigh as in its ``balance``.

    Attributes:
        last: The head that the last run began with; None where it began at random.
    """

    def __init__(self, data: PreparedData) -> None:
        self.data = data
        self.last: SolvedHead | None = None
        self._solved: dict[str, SolvedHead] = {}
        self._why_not: dict[type[nn.Module], str] = {}
        self._layers: dict[type[nn.Module], tuple[str, ...]] = {}

    def why_not(self, model: PreTrainedModel) -> str:
        """Why no head can be solved for this task and network, in a sentence; empty where one can."""
        if self.data.task_type not in SOLVABLE:
            return f"A task of {self.data.task_type} has no head that is a regression on one row of features."
        kind = type(plain_model(model)[0])
        if kind not in self._why_not:
            self._why_not[kind] = ""
            batch = (self.data.collator or default_data_collator)([self.data.train[0]])
            try:
                self._layers[kind] = HeadReader.of(model, batch, task_type=self.data.task_type).names
            except (ModelError, DataError) as error:
                self._why_not[kind] = str(error)
        return self._why_not[kind]

    def settled(self, strategies: Sequence[Strategy], model: PreTrainedModel) -> list[Strategy]:
        """The strategies, those that were given no ``head`` with the one that they begin with: ``begins_with`` in
        classification, random in other tasks.

        Raises:
            SettingsError: When one is to begin with a solved head and cannot.
        """
        return [self._settled(strategy, model) for strategy in strategies]

    def _settled(self, strategy: Strategy, model: PreTrainedModel) -> Strategy:
        by_default = strategy.head is None and self.data.task_type == CLASSIFICATION  # measured there alone
        if by_default and strategy.begins_with == PROBE and not self.why_not(model):
            return replace(strategy, head=PROBE)
        if strategy.begins_solved and (reason := self.why_not(model)):
            raise SettingsError(f"{strategy.name}:head=probe: {reason} Leave head=probe out.")
        return strategy

    def begin(self, strategy: Strategy, model: PreTrainedModel, device: torch.device) -> PreTrainedModel:
        """The freshly loaded model, in place, with the head that the strategy begins with.

        Args:
            strategy: A settled one.
            model: Before the strategy prepares it.
            device: Where the pass through the network is made; the model is moved there and back.
        """
        self.last = None
        if not strategy.begins_solved:
            return model
        if reason := self.why_not(model):
            raise SettingsError(f"{strategy.name}:head=probe: {reason} Leave head=probe out.")
        key = features_fingerprint(model, self._layers[type(plain_model(model)[0])])
        if key not in self._solved:
            self._solved[key] = self.solve(model, device)
        self.last = self._solved[key]
        return cast(PreTrainedModel, self.last.put_into(model))

    def begin_again(self, strategy: Strategy, model: PreTrainedModel, checkpoint: str) -> PreTrainedModel:
        """The same for a run that goes on from a checkpoint: what was solved then is read, nothing is solved.

        The checkpoint has a head of its own; this one is what training is held to, where it is (``wise_ft``).
        """
        path = Path(checkpoint) / FILE
        if not strategy.begins_solved or not path.is_file():
            return model
        found = load_file(path)
        before = (found["before.weight"], found["before.bias"]) if "before.weight" in found else None
        self.last = SolvedHead(found["weight"], found["bias"], float(found["strength"]), before=before)
        return cast(PreTrainedModel, self.last.put_into(model))

    def callbacks(self) -> tuple[TrainerCallback, ...]:
        """What a run that is to go on from its checkpoints keeps in them of the head that it began with."""
        return () if self.last is None else (KeepSolvedHead(self.last),)

    def solve(self, model: PreTrainedModel, device: torch.device) -> SolvedHead:
        """Solves the model's head in place, whatever was solved before.

        Args:
            model: With a fresh head.
            device: Where the pass through the network is made; the model is moved there and back.
        """
        data, was_on = self.data, model.device
        model.to(device)  # type: ignore[arg-type]  # transformers' own signature is a wrapped one
        try:
            return solve_head(
                model,
                data.train,
                collator=data.collator,
                validation=data.validation,
                task_type=data.task_type,
                class_weights=self._class_weights(),
                batch_size=_READ_AT_ONCE,
            )
        finally:
            model.to(was_on)  # type: ignore[arg-type]

    def _class_weights(self) -> np.ndarray | None:
        """What the loss and the sampler make each class count."""
        balance = self.data.balance
        if self.data.task_type != CLASSIFICATION or (balance.weights is None and balance.sampler is None):
            return None
        classes = np.array(classes_of(self.data.train))
        count = len(self.data.label_names)
        weights = balance.class_weights(classes, self.data.label_names)
        found = np.ones(count) if weights is None else weights.double().numpy()
        if balance.sampler is not None:
            found = found / np.maximum(np.bincount(classes, minlength=count), 1) * len(classes) / count
        return found


class KeepSolvedHead(TrainerCallback):
    """Writes the head that training began with into each checkpoint.

    Args:
        solved: The head.
    """

    def __init__(self, solved: SolvedHead) -> None:
        self.solved = solved

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            strength = np.array(self.solved.strength)
            kept = {"weight": self.solved.weight, "bias": self.solved.bias, "strength": strength}
            if self.solved.before is not None:
                kept["before.weight"], kept["before.bias"] = self.solved.before
            save_file(kept, to_write(args, state, FILE))
