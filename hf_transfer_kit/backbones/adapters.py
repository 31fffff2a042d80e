"""Adapters of peft: which layers can bear one, and what peft added to a network."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from typing import Any, cast

from torch import nn
from transformers.pytorch_utils import Conv1D

from hf_transfer_kit.backbones.layer_groups import layer_groups
from hf_transfer_kit.backbones.unwrapping import plain_model
from hf_transfer_kit.errors import ModelError
from hf_transfer_kit.logs import get_logger

logger = get_logger(__name__)

_OF_A_PLACE = ("base_model_name_or_path", "revision", "auto_mapping", "peft_version", "inference_mode")


def adaptable_layers(model: nn.Module, *, last: int | None = None) -> list[str]:
    """Qualified names of the layers before the head that a low-rank adapter fits.

    These are the linear layers (GPT-2's are transformers' ``Conv1D``); of a network without any, the convolutions that
    are not depthwise or grouped.

    Args:
        model: The model, without adapters.
        last: Only in so many layer groups, those nearest the head; None looks at all before the head.

    Raises:
        ModelError: When there is none.

    Example:
        >>> adaptable_layers(text_model, last=1)[:2]
        ['bert.pooler.dense']
    """
    body = layer_groups(model).body
    modules = {
        f"{name}.{inner_name}".rstrip("."): inner
        for group in (body if last is None else body[len(body) - last :])
        for name, module in group.modules.items()
        for inner_name, inner in module.named_modules()
    }
    linear = [name for name, module in modules.items() if type(module) in (nn.Linear, Conv1D)]
    convolutions = [n for n, m in modules.items() if isinstance(m, nn.Conv2d) and m.groups == 1]
    if not (linear or convolutions):
        raise ModelError(
            f"{type(model).__name__} has no linear layer or ungrouped convolution in "
            f"{'its body' if last is None else f'its last {last} layer groups before the head'}, so there is nothing "
            "to put a low-rank adapter on."
        )
    return linear or convolutions


def adapter_saving(model: nn.Module) -> dict[str, Any]:
    """What ``save_pretrained`` of an adapted model is told beside its folder.

    peft also looks for a table of words where the configuration's ``vocab_size`` is not that of the base, as in
    networks for CTC with other symbols; networks of sounds have none, and it would fail.
    """
    try:
        cast(Any, plain_model(model)[0]).get_input_embeddings()
    except (AttributeError, NotImplementedError):
        return {"save_embedding_layers": False}
    return {}


def is_adapted(model: nn.Module) -> bool:
    """Whether the model is wrapped by peft.

    Example:
        >>> is_adapted(model)
        False
    """
    return hasattr(model, "peft_config") and hasattr(model, "merge_and_unload")


def merged(model: nn.Module) -> nn.Module:
    """A plain copy with the adapters' changes in its weights; the adapted model stays as it is.

    Example:
        >>> from peft import LoraConfig, get_peft_model
        >>> adapted = get_peft_model(text_model, LoraConfig(target_modules=adaptable_layers(text_model)))
        >>> is_adapted(adapted), is_adapted(merged(adapted))
        (True, False)
    """
    network, _ = plain_model(copy.deepcopy(model))
    merge_adapters(network)  # peft's own merge_and_unload fails for heads of several layers beside most adapters
    return network


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


def adapter_settings(network: nn.Module) -> dict[str, dict[str, Any]] | None:
    """What peft put inside a network, as plain data from which ``put_adapters`` puts it there again; None for nothing.

    Args:
        network: A plain network, out of its peft wrapper.

    Raises:
        ModelError: When an adapter is prompts or another thing that stands outside the network.
    """
    configs = getattr(network, "peft_config", None)
    if not configs:
        return None
    found = {}
    for name, config in configs.items():
        if config.is_prompt_learning or config.is_adaption_prompt:
            raise ModelError(
                f"The adapter {name!r} is {config.peft_type.value}, which stands beside the network and not in its "
                "layers, so it cannot be carried inside another model. Use lora, ia3 or another that changes layers."
            )
        found[name] = {key: _plain(value) for key, value in config.to_dict().items() if key not in _OF_A_PLACE}
    return found


def put_adapters(network: nn.Module, settings: Mapping[str, Mapping[str, Any]] | None) -> None:
    """Puts adapters of fresh weights where ``adapter_settings`` found them, in place; nothing for None."""
    if not settings:
        return
    from peft import get_peft_config, inject_adapter_in_model

    for name, values in settings.items():
        inject_adapter_in_model(get_peft_config(dict(values)), network, adapter_name=name)


def merge_adapters(network: nn.Module) -> None:
    """Puts the adapters' changes into the weights of a plain network and takes the adapters out, in place."""
    if not getattr(network, "peft_config", None):
        return
    for name in [name for name, module in network.named_modules() if _is_topmost_adapter(module)]:
        try:
            module = network.get_submodule(name)
        except AttributeError:  # it lay in one that is out already
            continue
        network.set_submodule(name, _unloaded(module))
    del network.peft_config
    network.requires_grad_(True)


def outermost(network: nn.Module, name: str) -> str:
    """The part of a layer's name that names what peft put in its place; the name itself where it put nothing."""
    parts = name.split(".")
    for count in range(1, len(parts)):
        place = ".".join(parts[:count])
        if _is_topmost_adapter(network.get_submodule(place)):
            return place
    return name


def without_adapter(module: nn.Module) -> nn.Module:
    """A plain copy of what peft put in a layer's place, its changes merged; of other modules a copy."""
    module = copy.deepcopy(module)
    return _unloaded(module) if _is_topmost_adapter(module) else module


def _unloaded(module: Any) -> nn.Module:
    if hasattr(module, "unload_and_optionally_merge_module"):
        return module.unload_and_optionally_merge_module(merge=True, safe_merge=False, adapter_names=None)
    module.merge(safe_merge=False, adapter_names=None)
    return module.get_base_layer()


def _is_topmost_adapter(module: nn.Module) -> bool:
    return hasattr(module, "unload_and_optionally_merge_module") or (
        hasattr(module, "base_layer") and hasattr(module, "get_base_layer")
    )


def _plain(value: Any) -> Any:
    """Sets as lists, members of enumerations as their values."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return getattr(value, "value", value)


def tell_frozen(owner: nn.Module, parts: Mapping[str, nn.Module]) -> None:
    """Says once, of a model that is trained, which parts of it are frozen whole though others move.

    Args:
        owner: The model.
        parts: Name -> part, such as heads that may begin with random weights or may have learned before.
    """
    if vars(owner).get("_frozen_told"):
        return
    vars(owner)["_frozen_told"] = True
    frozen = _all_frozen(parts)
    if frozen and any(parameter.requires_grad for parameter in owner.parameters()):
        logger.warning(
            f"Of {type(owner).__name__} {', '.join(frozen)} is frozen and learns nothing. peft freezes all that it is "
            "not told to keep: give modules_to_save, or put the adapters into the network first."
        )


def _all_frozen(parts: Mapping[str, nn.Module]) -> list[str]:
    return [
        name
        for name, part in parts.items()
        if any(True for _ in part.parameters()) and not any(p.requires_grad for p in part.parameters())
    ]


def check_learning(owner: nn.Module, parts: Mapping[str, nn.Module], advice: str) -> None:
    """Refuses to train a model of which parts that begin with random weights are frozen though others move.

    peft freezes all that it is not told to keep (``modules_to_save``).

    Args:
        owner: The model, for the message.
        parts: Name -> part; those without parameters do not count.
        advice: What to do, a sentence.

    Raises:
        ModelError: When all parameters of a part are frozen.
    """
    frozen = _all_frozen(parts)
    if frozen and any(parameter.requires_grad for parameter in owner.parameters()):
        verb = "is" if len(frozen) == 1 else "are"
        raise ModelError(
            f"{', '.join(frozen)} of {type(owner).__name__} {verb} frozen, so nothing of what begins with random "
            f"weights there is learned. {advice}"
        )


def is_under(name: str, tops: Collection[str]) -> bool:
    """Whether a qualified name is one of ``tops`` or lies below one."""
    while name and name not in tops:
        name = name.rpartition(".")[0]
    return bool(name)
