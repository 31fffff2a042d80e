"""What L2-SP holds, and how firmly: strengths by layer, anchors placed beside parameters, penalties made of both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from hf_transfer_kit.backbones.shards import layout
from hf_transfer_kit.backbones.unwrapping import plain_model
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.tuning.conservative.anchor import Anchor, body_parameters
from hf_transfer_kit.tuning.conservative.anchor_penalty import AnchorPenalty, LoRAAnchorPenalty, placed_like
from hf_transfer_kit.tuning.conservative.lora_delta import LoRAPair
from hf_transfer_kit.tuning.selecting import selected_names
from hf_transfer_kit.values import LayerGroups

Selector = str | int


def pairs(groups: Mapping[Selector, float] | Sequence[Sequence] | None) -> list[tuple[Selector, float]]:
    """Selector and strength, in order; also from the lists that a checkpoint's JSON makes of them.

    Raises:
        SettingsError: When something else is among them.
    """
    items = groups.items() if isinstance(groups, Mapping) else groups or ()
    for item in items:
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise SettingsError(f"groups holds {item!r}; give selector -> strength, such as {{'body': 0.1}}.")
    return [(selector, strength) for selector, strength in items]


def strengths(
    groups: LayerGroups,
    held: set[str],
    alpha: float,
    beta: float,
    others: Sequence[tuple[Selector, float]] = (),
) -> dict[str, float]:
    """Strength for each parameter: alpha for the held ones (transferred, adapters) of the body, beta elsewhere."""
    result = {}
    for group in groups:
        for name in group.parameters:
            result[name] = alpha if name in held and not group.is_head else beta
    for selector, strength in others:
        result.update(dict.fromkeys(selected_names(groups, selector), strength))
    return result


def placed_anchors(model: nn.Module, anchor: Anchor, learning: set[str]) -> dict[str, Tensor]:
    """Qualified name -> w0 for each parameter that learns and is in the anchor, placed as the parameter is."""
    _, prefix = plain_model(model)
    return {
        name: placed_like(anchor.weights[name.removeprefix(prefix)], parameter)
        for name, parameter in body_parameters(model).items()
        if name in learning and name.removeprefix(prefix) in anchor.weights
    }


def make_penalties(
    optimizer: torch.optim.Optimizer,
    model: nn.Module,
    anchors: Mapping[str, Tensor],
    strength_of: Mapping[str, float],
    *,
    lora: Sequence[LoRAPair] = (),
    norm: str = "l2",
    importances: Mapping[str, Tensor] | None = None,
) -> list[AnchorPenalty | LoRAAnchorPenalty]:
    """Parameters of the optimizer, gathered by group, strength and whether they have an anchor; strength 0 left out."""
    name_of = {id(parameter): name for name, parameter in model.named_parameters()}
    adapters = {name for pair in lora for name in (pair.a_name, pair.b_name)}
    gathered: dict[tuple, list[str]] = {}
    index_of = {}
    for index, group in enumerate(optimizer.param_groups):
        for parameter in group["params"]:
            name = name_of.get(id(parameter))
            index_of[id(parameter)] = index
            if name is not None and name not in adapters and strength_of[name] > 0:
                key = (index, strength_of[name], name in anchors, parameter.device, parameter.dtype, layout(parameter))
                gathered.setdefault(key, []).append(name)
    parameters = dict(model.named_parameters())
    penalties: list[AnchorPenalty | LoRAAnchorPenalty] = []
    for (index, strength, anchored, *_), names in gathered.items():
        own = [parameters[name] for name in names]
        if anchored:
            weights = None if importances is None else [importances[name] for name in names]
            penalties.append(AnchorPenalty(own, [anchors[name] for name in names], strength, index, norm, weights))
        else:
            penalties.append(AnchorPenalty(own, None, strength, index))
    for pair in lora:
        of_a, of_b = index_of.get(id(pair.a)), index_of.get(id(pair.b))  # one of them learns, at least
        indices = cast(tuple[int, int], (of_b if of_a is None else of_a, of_a if of_b is None else of_b))
        if strength_of[pair.a_name] > 0:
            penalties.append(LoRAAnchorPenalty(pair, strength_of[pair.a_name], indices))
    return penalties


def held_groups(
    groups: LayerGroups, anchors: Mapping[str, Tensor], lora: Sequence[LoRAPair]
) -> dict[str, tuple[list[nn.Parameter], list[Tensor], list[LoRAPair]]]:
    """Name of each layer group with something held to w0 -> its parameters, their anchors, its LoRA pairs."""
    result = {}
    for group in groups.body:
        names = [name for name in group.parameters if name in anchors]
        own = [pair for pair in lora if pair.a_name in group.parameters]
        if names or own:
            result[group.name] = ([group.parameters[n] for n in names], [anchors[n] for n in names], own)
    return result


def cut_in_groups(model: nn.Module, names: Iterable[str]) -> str | None:
    """Name of a parameter whose shards hold parts of its rows, what leads to one output each; None where none does."""
    for name in names:
        cuts = layout(model.get_parameter(name))[1:]
        if any(placement.is_shard() and not placement.is_shard(0) for placements in cuts for placement in placements):
            return name
    return None


def inner_optimizer(optimizer: object, owner: str) -> torch.optim.Optimizer:
    """The torch optimizer inside accelerate's.

    Raises:
        SettingsError: When there is none whose step can be watched, as with DeepSpeed.
    """
    inner = getattr(optimizer, "optimizer", optimizer)
    if not isinstance(inner, torch.optim.Optimizer) or "DeepSpeed" in type(optimizer).__name__:
        raise SettingsError(
            f"{owner} needs a torch optimizer and got {type(inner).__name__}: DeepSpeed keeps its own copies of the "
            "weights. Use DistributedDataParallel or FSDP2."
        )
    return inner
