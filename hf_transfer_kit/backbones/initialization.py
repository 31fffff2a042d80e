"""Random weights in place of learned ones: "keep only the architecture", whole or from some depth on."""

from __future__ import annotations

import copy
from inspect import signature
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones.layer_groups import layer_groups
from hf_transfer_kit.backbones.unwrapping import plain_model, timm_model
from hf_transfer_kit.errors import ModelError, SettingsError

# Of class tokens and position embeddings in ViT, BERT and most networks after them.
_STD = 0.02


@checked_arguments()
def reinitialize(model: nn.Module, last: int | None = None, *, all: bool = False, seed: int | None = None) -> nn.Module:
    """Draws the weights of the last layer groups, or of the whole network, anew; in place.

    The values are those of a freshly built network of the same class, so each architecture's own initialisation
    holds; buffers such as BatchNorm's statistics start afresh with their group. Zhang et al. 2021 ("Revisiting
    few-sample BERT fine-tuning") re-initialise the last k blocks.

    Args:
        model: The model.
        last: Number of layer groups counted from the output, the head included.
        all: The whole network ("structure only").
        seed: Seed of the new weights, without touching the global random state; None draws from it.

    Returns:
        The model.

    Raises:
        SettingsError: When not exactly one of ``last`` and ``all`` is given, or ``last`` is out of range.
        ModelError: When a layer cannot be initialised because it has no rule for it.

    Example:
        >>> before = model.resnet.embedder.embedder.convolution.weight.clone()
        >>> _ = reinitialize(model, all=True, seed=1)
        >>> bool((model.resnet.embedder.embedder.convolution.weight != before).all())
        True
    """
    groups = layer_groups(model) if last is not None else ()
    if (last is None) == (not all):
        raise SettingsError("reinitialize takes exactly one of last=k (layer groups from the output) and all=True.")
    if last is not None and not 1 <= last <= len(groups):
        raise SettingsError(f"last={last} is out of range: the model has {len(groups)} layer groups, the head counted.")
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        try:
            fresh = _fresh_copy(model)
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(
                f"{type(model).__name__} cannot be initialised anew by its own rules "
                f"({type(error).__name__}: {error}). Build a new model instead."
            ) from error
    values = dict(fresh.named_parameters()) | dict(fresh.named_buffers())
    if all:
        names = {name for name, _ in model.named_parameters()} | {name for name, _ in model.named_buffers()}
    else:
        names = set()
        for group in groups[len(groups) - cast(int, last) :]:
            names.update(group.parameters)
            for module_name, module in group.modules.items():
                names.update(f"{module_name}.{name}" for name, _ in module.named_buffers())
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if name in names:
                tensor.copy_(values[name])
    return model


def _fresh_copy(model: nn.Module) -> nn.Module:
    """A network of the same structure with random weights, the names those of ``model``."""
    import timm

    inner, _ = plain_model(model)
    fresh: nn.Module | None = None
    if inner is model and isinstance(model, PreTrainedModel):
        fresh = type(model)(copy.deepcopy(model.config))
    elif (timm_parts := timm_model(model)) is not None and timm_parts[0] is model:
        network: Any = model
        architecture = (network.pretrained_cfg or {}).get("architecture")
        if architecture and timm.is_model(architecture):
            fresh = timm.create_model(architecture, pretrained=False, num_classes=network.num_classes)
    # A network built with arguments of its own cannot be rebuilt from its name: its layers draw anew where they are.
    return fresh if fresh is not None and _same_shapes(fresh, model) else _reset_copy(model)


def _same_shapes(first: nn.Module, second: nn.Module) -> bool:
    shapes = [
        {name: tensor.shape for name, tensor in [*m.named_parameters(), *m.named_buffers()]} for m in (first, second)
    ]
    return shapes[0] == shapes[1]


def _reset_copy(model: nn.Module) -> nn.Module:
    """A deep copy every layer of which has drawn its weights anew by its own rule."""
    fresh = copy.deepcopy(model)
    inner, _ = plain_model(fresh)
    found = timm_model(fresh)
    network: Any = None if found is None else found[0]
    has_init = hasattr(network, "init_weights")
    rule = getattr(inner, "_init_weights", None)
    if callable(rule) and not signature(rule).parameters:
        rule = None  # torchvision's MaxViT calls it for the whole network
    for name, module in inner.named_modules():
        own = list(module.parameters(recurse=False))
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
        elif own and not callable(rule) and not has_init:
            raise ModelError(
                f"{type(module).__name__} at {name!r} holds parameters but has no reset_parameters(), so it cannot be "
                "initialised anew. Give the class that method, or build a new model."
            )
        if callable(rule):
            if len([p for p in signature(rule).parameters.values() if p.default is p.empty]) > 1:
                rule(module, name)  # timm's networks also tell the name
            else:
                rule(module)
    if has_init:
        network.init_weights()
    before = dict(model.named_parameters())
    with torch.no_grad():
        for name, parameter in fresh.named_parameters():
            is_constant = bool((parameter == parameter.flatten()[0]).all()) if parameter.numel() else True
            if is_constant or not torch.equal(parameter, before[name]):
                continue
            if parameter.dim() < 2:
                raise ModelError(
                    f"{name!r} of {type(inner).__name__} is drawn by no rule of its network, so it would keep what it "
                    "learned. Build a new model instead."
                )
            parameter.normal_(std=_STD)  # class tokens and positions that no rule reaches
    return fresh
