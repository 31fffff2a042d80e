"""What peft added to a network, told by what peft's own layers say of themselves."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn


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
