"""Learning rates by depth, as parameter groups for ``Trainer(optimizer_cls_and_kwargs=...)``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel, Trainer, TrainingArguments

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones import layer_groups
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.options import check_choice
from hf_transfer_kit.tuning.calling import owners_frame
from hf_transfer_kit.tuning.checking import is_number
from hf_transfer_kit.tuning.layouts import check_layout
from hf_transfer_kit.tuning.logged_rates import log_rates
from hf_transfer_kit.values import LayerGroups

ENDS = ("input", "head")
"""Where rates fall to."""


def rate_factors(
    num_body: int,
    *,
    decay: float = 1.0,
    towards: str = "input",
    first_layers: float | None = None,
    num_first: int | None = None,
) -> list[float]:
    """Factor on the learning rate for each of ``num_body`` groups before the head, input to output.

    Group i (0 nearest the input) gets ``decay ** (num_body - i)``, with ``towards="head"`` the mirror image of it,
    ``decay ** (i + 1)``; the first ``num_first`` of them get
    ``first_layers`` on top.

    Args:
        num_body: Number of groups before the head.
        decay: Layer-wise decay in (0, 1] (Clark et al. 2020, ELECTRA; Howard & Ruder 2018 use 1/2.6).
        towards: The end that learns least, ``"input"`` or ``"head"``.
        first_layers: Factor >= 0 for the first groups, such as 0.001; None leaves them to ``decay``.
        num_first: How many groups count as first; by default half of them, rounded down, at least one.

    Raises:
        SettingsError: When a value is out of range.
    """
    if not 0 < decay <= 1:
        raise SettingsError(
            f"decay={decay} is outside (0, 1]: it multiplies the rate once for each layer below the head."
        )
    check_choice("layerwise_optimizer", "towards", towards, ENDS)
    if first_layers is not None and first_layers < 0:
        raise SettingsError(
            f"first_layers={first_layers} is negative: give a factor of the learning rate, such as 0.001."
        )
    if num_first is None:
        num_first = max(1, num_body // 2)
    if not 0 <= num_first <= num_body:
        raise SettingsError(f"num_first={num_first} is out of range: the model has {num_body} groups before the head.")
    factors = [decay ** (num_body - depth if towards == "input" else depth + 1) for depth in range(num_body)]
    if first_layers is not None:
        factors[:num_first] = [factor * first_layers for factor in factors[:num_first]]
    return factors


@checked_arguments(own_words_first=True)
def layerwise_optimizer(
    model: nn.Module | None,
    args: TrainingArguments,
    *,
    decay: float = 1.0,
    towards: str = "input",
    first_layers: float | None = None,
    num_first: int | None = None,
    head: float = 1.0,
    example_inputs: Any = None,
) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    """A learning rate for each layer group, for ``Trainer(optimizer_cls_and_kwargs=...)``.

    The head learns at ``args.learning_rate * head``, the group at depth i at ``args.learning_rate * factor_i`` with
    the factors of ``rate_factors``. Weight decay leaves out norms and biases, as in Trainer. Every parameter is in
    a group from the start, in a fixed order, so that freezing callbacks may come before or after, and schedulers and
    checkpoints fit. A factor of 0 keeps the weights still but not BatchNorm's statistics: to freeze, use
    ``FreezeLayers``.

    The groups are those of the model that the Trainer trains, and the rates those of ``args``, when it makes its
    optimizer: a new head, adapters, ``model_init`` and each trial of a search are in them, and the pair serves any
    number of Trainers. Where a Trainer's constructor has no such argument (``Seq2SeqTrainer``, TRL's), set
    ``trainer.optimizer_cls_and_kwargs = layerwise_optimizer(...)`` after it is made. Trainer logs as ``learning_rate``
    the lowest of the rates; beside it are logged ``learning_rate/head`` and ``learning_rate/body``, the highest.

    Args:
        model: The model, on which the settings are checked at once; None where ``model_init`` will make it.
        args: The Trainer's; they give the optimizer, the learning rate and the weight decay.
        decay: Layer-wise decay in (0, 1]; 1.0 means none.
        towards: The end that learns least, ``"input"`` or, next to the head, ``"head"``.
        first_layers: Factor on the first groups' rate, such as 0 or 0.001.
        num_first: How many groups are first; default half of those before the head.
        head: Factor on the head's rate.
        example_inputs: Where the kit cannot make up inputs for one forward of the model: some, as for
            ``layer_groups``.

    Returns:
        The pair that Trainer's ``optimizer_cls_and_kwargs`` takes.

    Raises:
        SettingsError: When a factor is out of range, or ``args.optim`` builds its own parameter groups.

    Example:
        >>> optimizer = layerwise_optimizer(model, args, decay=0.5)
        >>> trainer = Trainer(model, args, train_dataset=train, optimizer_cls_and_kwargs=optimizer)
        >>> _ = trainer.create_optimizer()
        >>> sorted({group["lr"] / args.learning_rate for group in trainer.optimizer.param_groups})
        [0.125, 0.25, 0.5, 1.0]
    """
    for name, value in (("decay", decay), ("first_layers", first_layers), ("head", head)):
        if not is_number(value) and not (value is None and name == "first_layers"):
            raise SettingsError(f"{name}={value!r} is no finite number: give a factor of the learning rate.")
    if head < 0:
        raise SettingsError(f"head={head} is negative: give a factor of the learning rate.")
    settings: dict[str, Any] = {
        "decay": decay,
        "towards": towards,
        "first_layers": first_layers,
        "num_first": num_first,
    }
    if model is not None:
        body = len(layer_groups(model, example_inputs=example_inputs).body)
        rate_factors(body, **settings)
        optimizer_class_of(model, args)
    else:
        rate_factors(max(1, num_first or 1), **settings)
    made = cast(type[torch.optim.Optimizer], LayerwiseRates)  # called like one, it gives one
    return made, {"args": args, **settings, "head": head, "example_inputs": example_inputs}


class LayerwiseRates:
    """Makes the optimizer of ``layerwise_optimizer`` for the model that it is called with."""

    def __call__(
        self,
        model: nn.Module,
        *,
        args: TrainingArguments,
        decay: float = 1.0,
        towards: str = "input",
        first_layers: float | None = None,
        num_first: int | None = None,
        head: float = 1.0,
        example_inputs: Any = None,
    ) -> torch.optim.Optimizer:
        """The optimizer, with parameter groups by depth.

        Args:
            model: The model that is about to be trained.
            args: As in ``layerwise_optimizer``.
            decay: As in ``layerwise_optimizer``.
            towards: As in ``layerwise_optimizer``.
            first_layers: As in ``layerwise_optimizer``.
            num_first: As in ``layerwise_optimizer``.
            head: As in ``layerwise_optimizer``.
            example_inputs: As in ``layerwise_optimizer``.
        """
        frame = owners_frame(Trainer)
        trainer = None if frame is None else frame.f_locals["self"]
        check_layout("layerwise_optimizer", model, trainer, also_with=("DeepSpeed",))
        groups = layer_groups(model, example_inputs=example_inputs)
        body = len(groups.body)
        factors = rate_factors(body, decay=decay, towards=towards, first_layers=first_layers, num_first=num_first)
        optimizer_class, kwargs = optimizer_class_of(model, args)
        params = optimizer_groups(model, groups, [*factors, *([head] if groups.head else [])], args)
        log_rates(trainer)
        return optimizer_class(params, **kwargs)


def optimizer_class_of(model: nn.Module, args: TrainingArguments) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    """The class and settings of the optimizer that ``args`` name.

    Raises:
        SettingsError: When it makes its own parameter groups.
    """
    optimizer_class, kwargs = Trainer.get_optimizer_cls_and_kwargs(args, cast(PreTrainedModel, model))
    taken = {"params", "model", "optimizer_dict"} & set(kwargs)
    if taken or not isinstance(optimizer_class, type):
        raise SettingsError(
            f"optim={args.optim} makes its own parameter groups, so rates by depth cannot be set; choose an optimizer "
            "such as adamw_torch or sgd."
        )
    return optimizer_class, kwargs


def optimizer_groups(
    model: nn.Module, groups: LayerGroups, factors: list[float], args: TrainingArguments
) -> list[dict[str, Any]]:
    """Parameter groups, two a layer group (with and without weight decay), empty ones left out."""
    return rate_groups(model, [(group.parameters, factor) for group, factor in zip(groups, factors, strict=True)], args)


def rate_groups(
    model: nn.Module, parts: Sequence[tuple[Mapping[str, nn.Parameter], float]], args: TrainingArguments
) -> list[dict[str, Any]]:
    """Parameter groups of parts that learn at rates of their own, empty ones left out.

    Weight decay is Trainer's: biases and what normalises have none.

    Args:
        model: Whose parameters they are.
        parts: Of each part name -> parameter, as ``model.named_parameters`` names it, and the factor on the rate.
        args: Rate and weight decay.
    """
    decaying = set(Trainer.get_decay_parameter_names(cast(Trainer, None), model))
    result = []
    for parameters, factor in parts:
        for weight_decay, wanted in ((args.weight_decay, True), (0.0, False)):
            chosen = [parameter for name, parameter in parameters.items() if (name in decaying) is wanted]
            if chosen:
                result.append({"params": chosen, "lr": args.learning_rate * factor, "weight_decay": weight_decay})
    return result
