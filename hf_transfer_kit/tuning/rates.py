"""Learning rates by depth, as parameter groups for ``Trainer(optimizer_cls_and_kwargs=...)``."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import Trainer, TrainingArguments

from hf_transfer_kit.backbones import layer_groups
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.values import LayerGroups


def rate_factors(
    num_body: int, *, decay: float = 1.0, first_layers: float | None = None, num_first: int | None = None
) -> list[float]:
    """Factor on the learning rate for each of ``num_body`` groups before the head, input to output.

    Group i (0 nearest the input) gets ``decay ** (num_body - i)``; the first ``num_first`` of them get
    ``first_layers`` on top.

    Args:
        num_body: Number of groups before the head.
        decay: Layer-wise decay in (0, 1] (Clark et al. 2020, ELECTRA; Howard & Ruder 2018 use 1/2.6).
        first_layers: Factor >= 0 for the first groups, such as 0.001; None leaves them to ``decay``.
        num_first: How many groups count as first; by default half of them, rounded down, at least one.

    Raises:
        SettingsError: When a value is out of range.
    """
    if not 0 < decay <= 1:
        raise SettingsError(
            f"decay={decay} is outside (0, 1]: it multiplies the rate once for each layer below the head."
        )
    if first_layers is not None and first_layers < 0:
        raise SettingsError(
            f"first_layers={first_layers} is negative: give a factor of the learning rate, such as 0.001."
        )
    if num_first is None:
        num_first = max(1, num_body // 2)
    if not 0 <= num_first <= num_body:
        raise SettingsError(f"num_first={num_first} is out of range: the model has {num_body} groups before the head.")
    factors = [decay ** (num_body - depth) for depth in range(num_body)]
    if first_layers is not None:
        factors[:num_first] = [factor * first_layers for factor in factors[:num_first]]
    return factors


def layerwise_optimizer(
    model: nn.Module,
    args: TrainingArguments,
    *,
    decay: float = 1.0,
    first_layers: float | None = None,
    num_first: int | None = None,
    head: float = 1.0,
    example_inputs: Any = None,
) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    """Optimizer class and arguments with a learning rate a layer group: ``Trainer(optimizer_cls_and_kwargs=...)``.

    The head learns at ``args.learning_rate * head``, the group at depth i at ``args.learning_rate * factor_i`` with
    the factors of ``rate_factors``. Weight decay leaves out norms and biases, as in Trainer. Every parameter is in
    a group from the start, in a fixed order, so that freezing callbacks may come before or after, and schedulers and
    checkpoints fit. A factor of 0 keeps the weights still but not BatchNorm's statistics: to freeze, use
    ``FreezeLayers``.

    Args:
        model: A model ``layer_groups`` knows.
        args: Gives the optimizer, the learning rate and the weight decay.
        decay: Layer-wise decay in (0, 1]; 1.0 means none.
        first_layers: Factor on the first groups' rate, such as 0 or 0.001.
        num_first: How many groups are first; default half of those before the head.
        head: Factor on the head's rate.
        example_inputs: Where the kit cannot make up inputs for one forward of the model: some, as for
            ``layer_groups``.

    Returns:
        The pair that Trainer's ``optimizer_cls_and_kwargs`` takes.

    Raises:
        SettingsError: When a factor is out of range, or ``args.optim`` builds its own parameter groups.
    """
    if head < 0:
        raise SettingsError(f"head={head} is negative: give a factor of the learning rate.")
    groups = layer_groups(model, example_inputs=example_inputs)
    factors = rate_factors(len(groups.body), decay=decay, first_layers=first_layers, num_first=num_first)
    optimizer_class, kwargs = Trainer.get_optimizer_cls_and_kwargs(args, model)
    taken = {"params", "model", "optimizer_dict"} & set(kwargs)
    if taken:
        raise SettingsError(
            f"optim={args.optim} makes its own parameter groups ({', '.join(sorted(taken))}), so rates by depth cannot "
            "be set; choose an optimizer such as adamw_torch or sgd."
        )
    params = optimizer_groups(model, groups, [*factors, *([head] if groups.head else [])], args)
    return optimizer_class, {**kwargs, "params": params}


def optimizer_groups(
    model: nn.Module, groups: LayerGroups, factors: list[float], args: TrainingArguments
) -> list[dict[str, Any]]:
    """Parameter groups, two a layer group (with and without weight decay), empty ones left out."""
    decaying = set(Trainer.get_decay_parameter_names(None, model))
    result = []
    for group, factor in zip(groups, factors, strict=True):
        for weight_decay, wanted in ((args.weight_decay, True), (0.0, False)):
            parameters = [p for name, p in group.parameters.items() if (name in decaying) is wanted]
            if parameters:
                result.append({"params": parameters, "lr": args.learning_rate * factor, "weight_decay": weight_decay})
    return result
