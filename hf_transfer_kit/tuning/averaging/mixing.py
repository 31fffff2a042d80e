"""Networks that can be mixed weight by weight, and their mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hf_transfer_kit.backbones import is_adapted
from hf_transfer_kit.backbones.batch_norms import batch_norms
from hf_transfer_kit.errors import ModelError

_COUNTER = "num_batches_tracked"


def why_not_mixed(first: nn.Module, other: nn.Module) -> str:
    """Why two networks cannot be mixed weight by weight: a sentence without its end; empty where they can.

    They need the same parameters and buffers by name and shape, and the same classes in the same order; what is no
    floating number, but for BatchNorm's counters, must be equal.
    """
    for model in (first, other):
        if is_adapted(model) or getattr(model, "peft_config", None):
            return f"{type(model).__name__} has adapters that are not merged into its weights"
    own, theirs = first.state_dict(), other.state_dict()
    if missing := sorted(own.keys() ^ theirs.keys()):
        return f"only one of them has {missing[0]}"
    for name, tensor in own.items():
        if tensor.shape != theirs[name].shape:
            return f"{name} is {tuple(tensor.shape)} in one and {tuple(theirs[name].shape)} in the other"
        if not tensor.is_floating_point() and not name.endswith(_COUNTER) and not torch.equal(tensor, theirs[name]):
            return f"{name}, which is no weight, differs"
    classes, others = (getattr(getattr(model, "config", None), "id2label", None) for model in (first, other))
    if classes != others:
        return f"their classes are {_told(classes)} and {_told(others)}, and the rows of a head stand for them"
    return ""


def check_mixable(models: Sequence[nn.Module], names: Sequence[str]) -> None:
    """Refuses networks that cannot be mixed.

    Args:
        models: Two or more.
        names: What they are called.

    Raises:
        ModelError: Naming two of them and what stands between.
    """
    for model, name in zip(models[1:], names[1:], strict=True):
        if why := why_not_mixed(models[0], model):
            raise ModelError(
                f"{names[0]} and {name} cannot be merged: {why}. Give networks that were trained from one and the "
                "same, with the same classes, adapters merged into the weights (peft's merge_and_unload)."
            )


def floating(model: nn.Module) -> dict[str, Tensor]:
    """Name -> each weight and buffer that is a floating number, tied ones once."""
    found = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {name: tensor.detach() for name, tensor in found.items() if tensor.is_floating_point()}


@torch.no_grad()
def put(model: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Writes these values into weights and buffers of the model."""
    own = floating(model)
    for name, value in values.items():
        own[name].copy_(value)


def moved_norms(network: nn.Module, models: Sequence[nn.Module]) -> list[Any]:
    """BatchNorms of a network in whose places the statistics of these models differ.

    Args:
        network: Built as they are; it may be one of them.
        models: One or more.
    """
    norms: list[list[Any]] = [list(batch_norms(model)) for model in (network, *models)]
    return [
        own
        for own, *alike in zip(*norms, strict=True)
        if any(
            not torch.equal(getattr(norm, name), getattr(alike[0], name))
            for norm in alike[1:]
            for name in ("running_mean", "running_var")
        )
    ]


def _told(classes: Mapping[int, str] | None) -> str:
    names = list((classes or {}).values())
    return f"{', '.join(map(str, names[:5]))}{', ...' if len(names) > 5 else ''}" or "none"
