"""Adapters of peft: which layers can bear one, and what peft added to a network."""

from __future__ import annotations

import copy
from collections.abc import Collection

from torch import nn

from hf_transfer_kit.backbones.layer_groups import layer_groups
from hf_transfer_kit.errors import ModelError


def adaptable_layers(model: nn.Module, *, last: int | None = None) -> list[str]:
    """Qualified names of the layers before the head that a low-rank adapter fits.

    These are the linear layers; of a network without any, the convolutions that are not depthwise or grouped.

    Args:
        model: The model, without adapters.
        last: Only in so many layer groups, those nearest the head; None looks at all before the head.

    Raises:
        ModelError: When there is none.
    """
    body = layer_groups(model).body
    modules = {
        f"{name}.{inner_name}".rstrip("."): inner
        for group in (body if last is None else body[len(body) - last :])
        for name, module in group.modules.items()
        for inner_name, inner in module.named_modules()
    }
    linear = [name for name, module in modules.items() if type(module) is nn.Linear]
    convolutions = [n for n, m in modules.items() if isinstance(m, nn.Conv2d) and m.groups == 1]
    if not (linear or convolutions):
        raise ModelError(
            f"{type(model).__name__} has no linear layer or ungrouped convolution in "
            f"{'its body' if last is None else f'its last {last} layer groups before the head'}, so there is nothing "
            "to put a low-rank adapter on."
        )
    return linear or convolutions


def is_adapted(model: nn.Module) -> bool:
    """Whether the model is wrapped by peft."""
    return hasattr(model, "peft_config") and hasattr(model, "merge_and_unload")


def merged(model: nn.Module) -> nn.Module:
    """A plain copy with the adapters' changes in its weights; the adapted model stays as it is."""
    return copy.deepcopy(model).merge_and_unload()


def added_by_peft(model: nn.Module) -> set[str]:
    """Qualified names of the modules and parameters that peft added to ``model``, topmost ones."""
    added = {
        f"{name}.{own}"
        for name, module in model.named_modules()
        for attribute in ("adapter_layer_names", "other_param_names")
        for own in getattr(module, attribute, ())
    }
    return added | {"prompt_encoder"} if hasattr(model, "peft_config") else added


def adapter_parameters(model: nn.Module) -> set[str]:
    """Names of the parameters that peft added to ``model``: adapters, and the copies of modules that it trains."""
    added = added_by_peft(model)
    return {name for name, _ in model.named_parameters() if is_under(name, added)}


def without_pretrained_value(model: nn.Module) -> set[str]:
    """Names of the parameters that peft drew anew; its copies of whole modules began as pretrained weights."""
    return {name for name in adapter_parameters(model) if ".modules_to_save." not in name}


def is_under(name: str, tops: Collection[str]) -> bool:
    """Whether a qualified name is one of ``tops`` or lies below one."""
    while name and name not in tops:
        name = name.rpartition(".")[0]
    return bool(name)
