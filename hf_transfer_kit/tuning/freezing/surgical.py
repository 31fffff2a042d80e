"""Only the part of the network learns at which the new task pulls hardest (Lee et al. 2023)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.logs import get_logger
from hf_transfer_kit.options import check_int, check_number
from hf_transfer_kit.tuning.conservative.anchor import stored_attributes
from hf_transfer_kit.tuning.freezing.schedule import Horizon, Stage, steps_in
from hf_transfer_kit.tuning.freezing.staged import StagedTraining
from hf_transfer_kit.tuning.gradient_norms import MeanNorms, relative_gradient_norms
from hf_transfer_kit.tuning.networks import GIVEN
from hf_transfer_kit.values import LayerGroups

logger = get_logger(__name__)

_HEAD, _MEASURE, _CHOSEN = range(3)


class SurgicalTuning(StagedTraining, ExportableState):
    """The head alone first, then it and the layer groups with the largest relative gradient; the rest is frozen.

    After ``head_fraction`` of training, when the head has learned what the features tell, a few steps measure
    |gradient| / |weights| of each group while the head alone moves; the ``blocks`` groups with the largest mean then
    learn with the head to the end. See ``StagedTraining`` for what holds for every schedule. A checkpoint keeps the
    means, so that a resumed run chooses as an uninterrupted one.

    Args:
        head_fraction: Share of training, in (0, 1), for the head alone.
        blocks: How many layer groups are chosen, at least 1.
        measure: Share of training, in (0, 1), over which the gradients are averaged; at least one step.
        batch_norm: As in ``FreezeLayers``.
        dropout: As in ``FreezeLayers``.
        quiet: Do not log the table of stages and the choice.
        example_inputs: As in ``FreezeLayers``.

    Attributes:
        chosen: Names of the chosen groups; empty before the choice.

    Raises:
        SettingsError: When an argument is out of range or does not fit the model.

    Example:
        >>> surgical = SurgicalTuning(head_fraction=0.3, quiet=True)
        >>> args.max_steps = 4
        >>> trainer = Trainer(model, args, train_dataset=train, callbacks=[surgical])
        >>> _ = trainer.train()
        >>> len(surgical.chosen)
        1
    """

    @checked_arguments(own_words_first=True)
    def __init__(
        self,
        *,
        head_fraction: float = 0.3,
        blocks: int = 1,
        measure: float = 0.05,
        batch_norm: str = "freeze",
        dropout: str = "off",
        quiet: bool = False,
        example_inputs: Any = None,
    ) -> None:
        super().__init__(batch_norm=batch_norm, dropout=dropout, quiet=quiet, example_inputs=example_inputs)
        self.head_fraction = check_number("SurgicalTuning", "head_fraction", head_fraction, low=0, high=1, above=True)
        self.measure = check_number("SurgicalTuning", "measure", measure, low=0, high=1, above=True)
        if self.head_fraction + self.measure >= 1:
            raise SettingsError(
                f"SurgicalTuning: head_fraction={head_fraction} and measure={measure} leave nothing of training for "
                "what they choose; give shares whose sum is below 1."
            )
        self.blocks = check_int("SurgicalTuning", "blocks", blocks, low=1)
        self.chosen: tuple[str, ...] = ()
        self._norms = MeanNorms()

    def state(self) -> dict:
        """What a checkpoint keeps: the means."""
        args = {"head_fraction": self.head_fraction, "blocks": self.blocks, "measure": self.measure}
        return {"args": args, "attributes": {"norms": self._norms.values, "steps": self._norms.steps}}

    def check_model(self, groups: LayerGroups) -> None:
        """Raises SettingsError when the model has no head, or fewer layer groups before it than are to be chosen."""
        if groups.head is None or self.blocks >= len(groups.body):
            has = f"{len(groups.body)} layer groups before its head" if groups.head else "no head"
            raise SettingsError(
                f"SurgicalTuning: blocks={self.blocks} does not fit a model that has {has}: give at most "
                f"{max(len(groups.body) - 1, 1)}, or fine-tune all of it."
            )

    def stages(self, groups: LayerGroups, horizon: Horizon) -> list[Stage]:
        """The head; the measurement, in which all else has a gradient and rate 0; what was chosen."""
        self.check_model(groups)
        head = frozenset(groups[-1].parameters)
        body = frozenset(name for group in groups.body for name in group.parameters)
        begin = steps_in(self.head_fraction, "share", horizon)
        end = begin + max(1, steps_in(self.measure, "share", horizon))
        still = dict.fromkeys(body, 0.0)
        return [
            Stage("the head", head, until=begin),
            Stage("the head; gradients are measured", head | body, until=end, factors=still),
            Stage("the head and what is chosen by its gradients", head | body),
        ]

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        optimizer: torch.optim.Optimizer = GIVEN,
        train_dataloader: DataLoader = GIVEN,
        **kwargs: Any,
    ) -> None:
        self.chosen, self._norms = (), MeanNorms()
        for found in stored_attributes(state, type(self).__name__) if state.global_step else []:
            self._norms.values, self._norms.steps = list(found["norms"]), found["steps"]
        super().on_train_begin(
            args, state, control, model=model, optimizer=optimizer, train_dataloader=train_dataloader, **kwargs
        )

    def on_pre_optimizer_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        super().on_pre_optimizer_step(args, state, control, model=model, **kwargs)
        if self._stage == _MEASURE:
            self._norms.add(relative_gradient_norms(model, self._groups.body))

    def _enter_stage(self, state: TrainerState, model: nn.Module) -> None:
        if not self.chosen and state.global_step >= (self._stages[_MEASURE].until or 0):
            self._choose()
        super()._enter_stage(state, model)

    def _choose(self) -> None:
        """Sets the last stage to the groups with the largest means."""
        body = self._groups.body
        norms = self._norms.values or [0.0] * len(body)
        movable = [i for i, group in enumerate(body) if self._movable & group.parameters.keys()]
        order = sorted(movable, key=lambda i: (-norms[i], i))[: self.blocks]
        groups = [body[i] for i in sorted(order)]
        self.chosen = tuple(group.name for group in groups)
        names = frozenset(name for group in (*groups, self._groups[-1]) for name in group.parameters)
        title = f"the head and {', '.join(self.chosen)}"
        self._stages[_CHOSEN] = replace(self._stages[_CHOSEN], title=title, trainable=names)
        if not self.quiet:
            logger.info(f"{type(self).__name__} trains {title}, where the relative gradient norm is largest.")
