"""Rates that follow the gradient: each layer group learns as fast as the loss pulls at it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones import layer_groups
from hf_transfer_kit.options import check_number
from hf_transfer_kit.tuning.calling import calling_trainer
from hf_transfer_kit.tuning.conservative.anchor import stored_attributes
from hf_transfer_kit.tuning.gradient_norms import MeanNorms, factors_of_norms, relative_gradient_norms
from hf_transfer_kit.tuning.logged_rates import log_rates
from hf_transfer_kit.tuning.networks import GIVEN, NetworkCallback
from hf_transfer_kit.tuning.runs import RunPart, guard_run
from hf_transfer_kit.tuning.step_rates import StepRates
from hf_transfer_kit.values import LayerGroups


class GradientRates(RunPart, NetworkCallback, ExportableState):
    """Multiplies each layer group's rate by its relative gradient norm (Auto-RGN, Lee et al. 2023).

    The relative norm is |gradient| / |weights| of the group, a moving mean over steps, divided by the largest of the
    groups before the head; the head, which is new, learns at the rate itself. The paper measures at the start of an
    epoch on five batches; here every step does, with the gradients that it has, so that short runs follow too. Rates of
    groups, the scheduler and checkpoints stay as they are; a resumed run goes on with the means.

    Args:
        memory: Over about how many steps the mean goes, at least 1.
        example_inputs: Where the kit cannot make up inputs for one forward of the model: some, as for
            ``layer_groups``.

    Attributes:
        factors: Name of a layer group -> factor on its rate in the last step.

    Raises:
        SettingsError: When ``memory`` is out of range, or the optimizer keeps a state in its groups.

    Example:
        >>> rates = GradientRates()
        >>> trainer = Trainer(model, args, train_dataset=train, callbacks=[rates])
        >>> _ = trainer.train()
        >>> max(rates.factors.values())
        1.0
    """

    reaches_parameters = True

    @checked_arguments(own_words_first=True)
    def __init__(self, *, memory: float = 10, example_inputs: Any = None) -> None:
        self.memory = check_number("GradientRates", "memory", memory, low=1)
        self.example_inputs = example_inputs
        self.factors: dict[str, float] = {}
        self._norms = MeanNorms(self.memory)
        self._groups = LayerGroups(())
        self._of_parameters: dict[int, float] = {}
        self._rates: StepRates | None = None

    def state(self) -> dict:
        """What a checkpoint keeps: the means."""
        means = {"norms": self._norms.values, "steps": self._norms.steps}
        return {"args": {"memory": self.memory}, "attributes": means}

    def on_init_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        layer_groups(model, example_inputs=self.example_inputs)  # remembered: a sharded model tells no order
        guard_run()

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        optimizer: torch.optim.Optimizer = GIVEN,
        **kwargs: Any,
    ) -> None:
        self.leave(model)
        self._groups = layer_groups(model, example_inputs=self.example_inputs)
        self._norms, self.factors, self._of_parameters = MeanNorms(self.memory), {}, {}
        for found in stored_attributes(state, type(self).__name__) if state.global_step else []:
            self._norms.values, self._norms.steps = list(found["norms"]), found["steps"]
        log_rates(calling_trainer())
        self._rates = StepRates(getattr(optimizer, "optimizer", optimizer), lambda: self._of_parameters)

    def on_pre_optimizer_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        body = self._groups.body
        self._norms.add(relative_gradient_norms(model, body))
        factors = factors_of_norms(self._norms.values or [0.0] * len(body))
        self.factors = {group.name: factor for group, factor in zip(body, factors, strict=True)}
        self._of_parameters = {
            id(parameter): factor
            for group, factor in zip(body, factors, strict=True)
            for parameter in group.parameters.values()
        }

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        self.leave(model)

    def leave(self, model: nn.Module) -> None:
        """Takes the factors off the optimizer."""
        if self._rates is not None:
            self._rates.remove()
            self._rates = None
