"""Static freezing: which layer groups never move, decided before the optimizer exists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn
from transformers import TrainerControl, TrainerState, TrainingArguments

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones import layer_groups, modality_of
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.logs import get_logger
from hf_transfer_kit.tuning.checking import is_number
from hf_transfer_kit.tuning.freezing.distributed import check_freezing, check_late_freezing, remember_trainable
from hf_transfer_kit.tuning.freezing.frozen import check_options, freeze, frozen_by, hold, is_frozen_by, thaw
from hf_transfer_kit.tuning.networks import GIVEN, NetworkCallback
from hf_transfer_kit.tuning.selecting import NO_HEAD, matching_names, parts
from hf_transfer_kit.values import LayerGroups

logger = get_logger(__name__)


class FreezeLayers(NetworkCallback):
    """Keeps layer groups of the model fixed for the whole training.

    Frozen means: no gradient, no optimizer state or change (weight decay and momentum included), BatchNorm statistics
    fixed, dropout off. Groups are those of ``layer_groups(model)``; the head is frozen by ``names`` only. Give exactly
    one of the choices. The weights of peft adapters stay trainable.

    Pass it in ``Trainer(callbacks=[...])``: it acts when the Trainer is made, before the optimizer, so frozen weights
    take no optimizer memory. Added later it acts when training starts. The model stays frozen after training, until
    ``undo``; train what was thawed with a new Trainer.

    Args:
        first: The first k groups (nearest the input), 1 <= k <= number of groups before the head.
        last: The last k groups before the head.
        but_last: All groups except the last k, the head counted: ``but_last=1`` trains the head alone.
        fraction: The first share of the groups before the head, in (0, 1], rounded, at least one.
        all_but_head: Everything but the head.
        names: A glob (``"encoder.layer.[0-3].*"``) or, after ``"re:"``, a regular expression, or a list of them; a
            group's part is frozen parameter by parameter where the qualified name matches.
        general: The k most general groups: the first k for images and text, the last k before the head for speech,
            where speakers differ at the input and phonemes are shared (model_cards/README.md measures both ends).
        modality: ``"image"``, ``"text"`` or ``"speech"`` for ``general``; by default the model's own.
        batch_norm: BatchNorm in the frozen part. ``"freeze"``: statistics and affine parameters fixed; ``"update"``:
            affine parameters fixed, statistics follow the new data (Li et al. 2017, AdaBN); ``"affine_only"``:
            statistics fixed, affine parameters trained (Frankle et al. 2021).
        dropout: ``"off"`` in the frozen part, or ``"on"``.
        quiet: Do not log the table of layer groups (at level info) when training starts, nor say when nothing is left
            to freeze.
        example_inputs: Where the kit cannot make up inputs for one forward of the model: some, as for
            ``layer_groups``.

    Raises:
        SettingsError: When not exactly one choice is given, or it does not fit the model (raised before training).

    Example:
        >>> trainer = Trainer(model, args, train_dataset=train, callbacks=[FreezeLayers(first=1)])
        >>> [all(p.requires_grad for p in group.parameters.values()) for group in layer_groups(model)]
        [False, True, True, True]
    """

    reaches_parameters = True
    also_with = ("DeepSpeed",)

    @checked_arguments(own_words_first=True)
    def __init__(
        self,
        *unnamed: object,
        first: int | None = None,
        last: int | None = None,
        but_last: int | None = None,
        fraction: float | None = None,
        all_but_head: bool | None = None,
        names: str | Sequence[str] | None = None,
        general: int | None = None,
        modality: str | None = None,
        batch_norm: str = "freeze",
        dropout: str = "off",
        quiet: bool = False,
        example_inputs: Any = None,
    ) -> None:
        if unnamed:
            raise SettingsError(
                f"FreezeLayers({', '.join(map(repr, unnamed))}) does not say what is meant: write first=, last=, or "
                "another choice by its name."
            )
        if names is not None and (not names or not all(isinstance(name, str) and name for name in names)):
            raise SettingsError(f"names={names!r} names nothing: give a glob, or a list of them.")
        if fraction is not None and not is_number(fraction):
            raise SettingsError(f"fraction={fraction!r} is no number: it is the share of groups to freeze, in (0, 1].")
        choices = {
            "first": first,
            "last": last,
            "but_last": but_last,
            "fraction": fraction,
            "all_but_head": all_but_head or None,
            "names": names,
            "general": general,
        }
        given = {name: value for name, value in choices.items() if value is not None}
        if len(given) != 1:
            raise SettingsError(
                f"FreezeLayers takes exactly one of {', '.join(choices)}; "
                f"{'none was given' if not given else 'given were ' + ', '.join(given)}."
            )
        self.choice, self.value = next(iter(given.items()))
        check_options(batch_norm=batch_norm, dropout=dropout)
        self.modality = modality
        self.batch_norm = batch_norm
        self.dropout = dropout
        self.quiet = quiet
        self.example_inputs = example_inputs
        self._owner = f"FreezeLayers({self.choice}={self.value!r})"

    def apply(self, model: nn.Module) -> LayerGroups:
        """Freezes the chosen part of ``model`` now and returns its layer groups. Trainer calls this by itself."""
        groups = layer_groups(model, example_inputs=self.example_inputs)
        if self.choice == "names":
            patterns = [self.value] if isinstance(self.value, str) else cast(Sequence[str], self.value)
            chosen = parts(groups, set().union(*(matching_names(groups, pattern) for pattern in patterns)))
        else:
            depths = frozen_depths(groups, self.choice, cast(float, self.value), modality=self._modality(model))
            chosen = [groups[depth] for depth in depths]
        options = {"batch_norm": self.batch_norm, "dropout": self.dropout}
        freeze(model, chosen, owner=self._owner, spare_adapters=True, **options)
        if not any(parameter.requires_grad for parameter in model.parameters()):
            self.undo(model)
            raise SettingsError(
                f"{self._owner} leaves nothing to train in {type(model).__name__}: freeze fewer layers"
                + ("." if groups.head is not None else ", or give the model a head with replace_head.")
            )
        if not self.quiet and not frozen_by(model, owner=self._owner):
            logger.warning(
                f"{self._owner} freezes nothing that would have been trained in {type(model).__name__}: all of it was "
                "frozen before."
            )
        return groups

    def undo(self, model: nn.Module) -> None:
        """Thaws what this callback froze in ``model``; what others froze stays frozen."""
        thaw(model, owner=self._owner)

    def _modality(self, model: nn.Module) -> str:
        return (self.modality or modality_of(model)) if self.choice == "general" else ""

    def on_step_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        self._hold(model)

    def on_pre_optimizer_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        self._hold(model)

    def _hold(self, model: nn.Module) -> None:
        """Freezes again what something else made trainable, as peft's ``disable_adapter`` does on its way back."""
        hold(model, owner=self._owner)

    def on_init_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        check_freezing(model, args)
        self.apply(model)

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        optimizer: torch.optim.Optimizer = GIVEN,
        **kwargs: Any,
    ) -> None:
        check_freezing(model, args)
        remember_trainable(model, optimizer, args)
        # Added to the Trainer after it was made, or the model was swapped: without a gradient nothing moves either.
        if not is_frozen_by(model, owner=self._owner):
            check_late_freezing(model, args, asked_by="FreezeLayers, added after the Trainer was made,")
            self.apply(model)
        if not self.quiet:
            logger.info("%s", layer_groups(model, example_inputs=self.example_inputs))


def frozen_depths(groups: LayerGroups, choice: str, value: int | float | bool, *, modality: str) -> range:
    """Depths (indices into ``groups``) that a choice of ``FreezeLayers`` means.

    Args:
        groups: Layer groups of the model.
        choice: ``first``, ``last``, ``but_last``, ``fraction``, ``all_but_head`` or ``general``.
        value: Its value.
        modality: ``image``, ``text``, ``audio`` or ``speech``; read by ``general`` only.

    Raises:
        SettingsError: When the value is out of range, or the model has no head and the choice needs one.
    """
    body = len(groups.body)
    if choice == "all_but_head":
        if groups.head is None:
            raise SettingsError(f"all_but_head=True {NO_HEAD}")
        return range(body)
    if choice == "fraction":
        if not 0 < value <= 1:
            raise SettingsError(f"fraction={value} is outside (0, 1]: it is the share of groups to freeze.")
        return range(max(1, round(value * body)))
    if choice == "but_last":
        value = _checked_count(choice, value, len(groups) - 1, "groups, the head counted, one of which must be frozen")
        return range(len(groups) - value)
    value = _checked_count(choice, value, body, "groups before the head")
    if choice == "general":
        choice = "last" if modality in ("speech", "audio") else "first"
    return range(value) if choice == "first" else range(body - value, body)


def _checked_count(choice: str, value: float, limit: int, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= limit:
        raise SettingsError(
            f"{choice}={value} is out of range: this model has {limit} {what}, so give a whole number "
            f"from 1 to {limit}."
        )
    return value
