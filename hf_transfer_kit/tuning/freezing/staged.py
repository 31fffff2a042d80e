"""The callback that carries a schedule of stages out: freezes, thaws, scales rates, logs and prints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import IntervalStrategy, has_length

from hf_transfer_kit.backbones import layer_groups
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.near_names import did_you_mean
from hf_transfer_kit.tuning.calling import calling_trainer
from hf_transfer_kit.tuning.freezing.distributed import (
    check_freezing,
    check_in_optimizer,
    check_late_freezing,
    remember_trainable,
)
from hf_transfer_kit.tuning.freezing.frozen import (
    adapter_parameters,
    batch_norm_parameters,
    check_options,
    freeze,
    hold,
    thaw,
)
from hf_transfer_kit.tuning.freezing.resuming import load_state_of_what_learned
from hf_transfer_kit.tuning.freezing.schedule import Horizon, Stage, end_of, stage_at
from hf_transfer_kit.tuning.freezing.telling import (
    tell_stages,
    warn_of_falling_back,
    warn_of_no_difference,
    warn_of_unreached,
    warn_of_untrained,
)
from hf_transfer_kit.tuning.layouts import SHARDS, layout_of
from hf_transfer_kit.tuning.logged_rates import log_rates
from hf_transfer_kit.tuning.networks import GIVEN
from hf_transfer_kit.tuning.runs import RunPart, guard_run
from hf_transfer_kit.tuning.scalars import ScalarCallback
from hf_transfer_kit.tuning.selecting import parts
from hf_transfer_kit.tuning.step_rates import StepRates
from hf_transfer_kit.values import LayerGroups

_ADAPTERS = ("trained", "staged")
_OWNER = "schedule"
_STAGE = "freezing_stage"


class StagedTraining(RunPart, ScalarCallback):
    """Trains different parts of the model in different stages; a subclass says which, in ``stages``.

    All parameters are in the optimizer, in DistributedDataParallel and in every checkpoint from the start: freezing
    begins when training does. The stage follows from the finished steps alone (and the logged evaluations, for
    plateaus), so a resumed run is in the stage where an uninterrupted one would be. What was frozen before (by hand or
    by ``FreezeLayers``) stays frozen. After training the schedule's own freezing is undone. Logs ``freezing_stage``
    (from 0) and ``trainable_share``.

    Args:
        batch_norm: BatchNorm in the frozen part: ``"freeze"``, ``"update"`` (statistics) or ``"affine_only"``
            (affine parameters always trained), as in ``FreezeLayers``.
        dropout: ``"off"`` in the frozen part, or ``"on"``.
        adapters: In a peft model, ``"trained"``: adapters are trained in every stage, as in ``FreezeLayers``; or
            ``"staged"``: those of a layer thaw with it, which is what a schedule can do for a model that peft froze.
        quiet: Do not log the table of stages (at level info) when training starts.
        example_inputs: Where the kit cannot make up inputs for one forward of the model: some, as for
            ``layer_groups``.
    """

    reaches_parameters = True

    def __init__(
        self,
        *,
        batch_norm: str = "freeze",
        dropout: str = "off",
        adapters: str = "trained",
        quiet: bool = False,
        example_inputs: Any = None,
    ) -> None:
        check_options(batch_norm=batch_norm, dropout=dropout)
        if adapters not in _ADAPTERS:
            raise SettingsError(
                f"adapters={adapters!r} is unknown; choose one of {', '.join(_ADAPTERS)}."
                f"{did_you_mean(adapters, _ADAPTERS)}"
            )
        self.batch_norm = batch_norm
        self.dropout = dropout
        self.adapters = adapters
        self.quiet = quiet
        self.example_inputs = example_inputs
        self._groups = LayerGroups(())
        self._horizon = Horizon(0, None)
        self._stages: list[Stage] = []
        self._stage: int | None = None
        self._movable: frozenset[str] = frozenset()
        self._always: frozenset[str] = frozenset()
        self._evaluations: list[Mapping[str, float]] = []
        self._entries_read = 0
        self._metrics_known = False
        self._factors: dict[int, float] = {}
        self._rates: StepRates | None = None

    def stages(self, groups: LayerGroups, horizon: Horizon) -> list[Stage]:
        """The stages for this model and length of training; called when training starts.

        Raises:
            SettingsError: When the settings do not fit the model.
        """
        raise NotImplementedError

    def last_stage_from(self, state: TrainerState) -> int | None:
        """First step of the last stage, after which everything learns that ever will; None where it is still to come.

        Args:
            state: Of the training that goes on.
        """
        index, start = stage_at(state.global_step, self._stages, self._read_evaluations(state.log_history))
        return start if index == len(self._stages) - 1 else None

    def check_model(self, groups: LayerGroups) -> None:
        """Raises SettingsError for what can be told from the model alone; called when the Trainer is made."""

    def scalars(self, model: nn.Module) -> Mapping[str, torch.Tensor | float]:
        """The current stage, from 0, and the share of the model's scalars that is trained in it."""
        return {_STAGE: float(self._stage or 0), "trainable_share": trainable_share(model)}

    def on_init_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        super().on_init_end(args, state, control, model=model, **kwargs)
        guard_run()
        trainer = calling_trainer()
        if trainer is not None and layout_of(model, trainer) == SHARDS:
            load_state_of_what_learned(trainer)
        thaw(model, owner=_OWNER)  # left by a run that was interrupted; now, before there is an optimizer
        self._check_settings(model, args)
        self.check_model(layer_groups(model, example_inputs=self.example_inputs))

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
        super().on_train_begin(args, state, control, model=model, **kwargs)
        self._check_settings(model, args)
        self._check_alone(state)
        thaw(model, owner=_OWNER)  # left by a run of this Trainer that was interrupted
        remember_trainable(model, optimizer, args)
        self._groups = layer_groups(model, example_inputs=self.example_inputs)
        self._movable = frozenset(name for name, parameter in model.named_parameters() if parameter.requires_grad)
        adapters = adapter_parameters(model) if self.adapters == "trained" else set()
        affine = batch_norm_parameters(model) if self.batch_norm == "affine_only" else set()
        self._always = self._movable & (adapters | affine)
        self._horizon = horizon_of(args, state, train_dataloader)
        self._stages = self.stages(self._groups, self._horizon)
        self._check_stages(model, args, optimizer)
        self._stage = None
        self._evaluations, self._entries_read, self._metrics_known = [], 0, False
        self._enter_stage(state, model)
        self._scale_rates(optimizer)
        self._tell(state)

    def on_step_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        self._enter_stage(state, model)
        if self._evaluations and not self._metrics_known:
            self._check_metrics()
            self._metrics_known = True

    def on_pre_optimizer_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        hold(model, owner=_OWNER)  # peft's disable_adapter makes all adapters trainable on its way back

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self._stage is None:  # evaluated outside training
            return
        evaluations = self._read_evaluations(state.log_history)
        index, start = stage_at(state.global_step, self._stages, evaluations)
        last = self._stages[-1]
        if index == len(self._stages) - 1 and last.plateau is not None:
            end = end_of(last, start, state.global_step, evaluations)
            control.should_training_stop = control.should_training_stop or end is not None

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        if self._stage is not None:
            trained = [self._trained(stage) for stage in self._stages]
            warn_of_untrained(type(self).__name__, self._groups, trained, self._stage)
        self.leave(model)

    def leave(self, model: nn.Module) -> None:
        """Undoes the schedule's own freezing."""
        self._stage = None
        self._scale_rates(None)
        thaw(model, owner=_OWNER)

    def _check_settings(self, model: nn.Module, args: TrainingArguments) -> None:
        check_freezing(model, args)
        check_late_freezing(model, args, asked_by=type(self).__name__)

    def _check_alone(self, state: TrainerState) -> None:
        # The state object lives for one training, and what is beside its fields goes into no checkpoint.
        other = vars(state).setdefault("_freezing_schedule", self)
        if other is not self:
            raise SettingsError(
                f"{type(other).__name__} and {type(self).__name__} both schedule what is trained; give a Trainer one "
                "of them. FreezeLayers may stand beside it."
            )

    def _trained(self, stage: Stage) -> frozenset[str]:
        """Names of the parameters that move in a stage."""
        return (stage.trainable & self._movable) | self._always

    def _check_stages(self, model: nn.Module, args: TrainingArguments, optimizer: torch.optim.Optimizer) -> None:
        ended = 0
        for number, stage in enumerate(self._stages):
            if stage.until is not None and stage.until < ended:
                raise SettingsError(
                    f"{type(self).__name__}: stage {number} ends at step {stage.until}, before the one ahead of it "
                    f"(step {ended}); times count from the start of training and must not fall."
                )
            ended = stage.until or ended
            if not self._trained(stage):
                raise SettingsError(
                    f"{type(self).__name__}: stage {number} ({stage.title}) trains nothing, because all of it was "
                    "frozen before training began."
                )
            if stage.plateau is not None and args.eval_strategy == IntervalStrategy.NO:
                raise SettingsError(
                    f"{type(self).__name__}: stage {number} ends when {stage.plateau.key} stops improving, but nothing "
                    "is evaluated during training: set eval_strategy='epoch' or 'steps', and give an eval_dataset."
                )
        ever = frozenset().union(*(self._trained(stage) for stage in self._stages))
        check_in_optimizer(model, optimizer, ever, asked_by=type(self).__name__)

    def _enter_stage(self, state: TrainerState, model: nn.Module) -> None:
        """Freezes and thaws what the stage of the next step asks for; nothing when that is the current stage.

        Training may turn out to be shorter than planned: shares of it are shares of what it is.
        """
        if state.max_steps != self._horizon.max_steps:
            self._horizon = replace(self._horizon, max_steps=state.max_steps)
            self._stages = self.stages(self._groups, self._horizon)
        index, _ = stage_at(state.global_step, self._stages, self._read_evaluations(state.log_history))
        if index == self._stage:
            hold(model, owner=_OWNER)
            return
        stage = self._stages[index]
        still = {name for group in self._groups for name in group.parameters} - self._movable
        frozen = parts(self._groups, self._movable - stage.trainable, still=still)
        options: dict[str, Any] = {
            "batch_norm": self.batch_norm,
            "dropout": self.dropout,
            "spare_adapters": self.adapters == "trained",
        }
        freeze(model, frozen, owner=_OWNER, **options)
        parameters = dict(model.named_parameters())
        self._factors = {id(parameters[name]): factor for name, factor in stage.factors.items() if factor != 1}
        self._stage = index

    def _read_evaluations(self, history: Sequence[Mapping[str, float]]) -> Sequence[Mapping[str, float]]:
        """The entries of ``log_history`` that plateaus look at; reads only those added since the last call."""
        keys = {stage.plateau.key for stage in self._stages if stage.plateau is not None}
        if not keys or self._entries_read == len(history):
            return self._evaluations
        new = [entry for entry in history[self._entries_read :] if any(key.startswith("eval_") for key in entry)]
        self._entries_read = len(history)
        self._evaluations += new
        return self._evaluations

    def _check_metrics(self) -> None:
        known = sorted({key for entry in self._evaluations for key in entry if key.startswith("eval_")})
        for key in {stage.plateau.key for stage in self._stages if stage.plateau is not None}:
            if key not in known:
                raise SettingsError(
                    f"{type(self).__name__} waits for {key} to stop improving, but evaluations report "
                    f"{', '.join(known)}: name one of these."
                )

    def _scale_rates(self, optimizer: torch.optim.Optimizer | None) -> None:
        """Puts the stages' factors on the optimizer's steps; None takes them off."""
        if self._rates is not None:
            self._rates.remove()
            self._rates = None
        if optimizer is not None and any(stage.factors for stage in self._stages):
            log_rates(calling_trainer())
            self._rates = StepRates(getattr(optimizer, "optimizer", optimizer), lambda: self._factors)

    def _tell(self, state: TrainerState) -> None:
        owner, trained = type(self).__name__, [self._trained(stage) for stage in self._stages]
        if not self.quiet:
            tell_stages(self._groups, self._stages, trained)
        warn_of_unreached(owner, self._stages, state.max_steps, what_would_fit=self._what_would_fit())
        warn_of_no_difference(owner, trained, adapters_always=bool(self._always))
        before = next((entry[_STAGE] for entry in reversed(state.log_history) if _STAGE in entry), 0)
        warn_of_falling_back(owner, self._stage or 0, int(before), step=state.global_step)

    def _what_would_fit(self) -> str:
        return "Times given as shares of training, such as 0.5, fit every length."


def horizon_of(args: TrainingArguments, state: TrainerState, dataloader: DataLoader | None) -> Horizon:
    """How long training is, counted as Trainer counts."""
    steps = None
    if dataloader is not None and has_length(dataloader):
        steps = max(math.ceil(len(dataloader) / args.gradient_accumulation_steps), 1)
    return Horizon(max_steps=state.max_steps, steps_per_epoch=steps)


def trainable_share(model: nn.Module) -> float:
    """Share of the model's scalars that require a gradient, in [0, 1]."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return sum(size for size, trained in sizes if trained) / max(sum(size for size, _ in sizes), 1)
