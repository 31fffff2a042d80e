"""The task's head: where it is, and which of its layers give the logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from hf_transfer_kit.backbones.example_inputs import traced
from hf_transfer_kit.backbones.registry import registered_head
from hf_transfer_kit.backbones.sections import is_network, outside_base
from hf_transfer_kit.backbones.unwrapping import plain_model, timm_model
from hf_transfer_kit.errors import ModelError

_LAST_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)


class PassedOn(nn.Identity):
    """Stands where a layer was. Its empty weight is for families that initialise that layer's by name (T5)."""

    bias = None

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.empty(0)  # no parameter


class TakenOff(PassedOn):
    """Stands where a network's label head was: what the network gives are features, and it has no head."""


def find_head(model: nn.Module) -> dict[str, nn.Module]:
    """All modules of the task's head, qualified name -> module, in order of definition; empty when there is none.

    For transformers' task models these are the direct children outside the base model (a pooler that belongs to the
    task included), for timm networks the classifier; besides, and for any other module, the layers whose outputs
    become the logits in one traced forward.

    Example:
        >>> list(find_head(model))
        ['classifier']
    """
    inner, prefix = plain_model(model)
    if _is_taken_off(inner):
        return {}
    if named := registered_head(inner):
        return {f"{prefix}{name}": module for name, module in named.items()}
    sources = _sources(inner)
    if (timm := timm_model(inner)) is not None:
        network, network_prefix = timm
        classifier = cast(Any, network).get_classifier()
        wanted = {id(m) for m in (classifier if isinstance(classifier, (tuple, list)) else (classifier,))}
        known = {n: m for n, m in network.named_modules() if id(m) in wanted and any(True for _ in m.parameters())}
        found = {f"{network_prefix}{name}": module for name, module in known.items()}
    elif isinstance(inner, PreTrainedModel):
        found = outside_base(inner)
    else:
        found = _head_of_inner(inner, sources)
    missing = {name: layer for name, layer in sources.items() if not _is_under(name, found)}
    missing |= {name: part for name, part in _auxiliary(inner, sources).items() if not _is_under(name, found)}
    if missing:
        found = {name: module for name, module in inner.named_modules() if name in {**found, **missing}}
    return {f"{prefix}{name}": module for name, module in found.items()}


def _is_taken_off(model: nn.Module) -> bool:
    """Whether the head of this very network was taken off, not that of one inside it."""
    places = [name for name, module in model.named_modules() if isinstance(module, TakenOff)]
    inside = [name for name, module in model.named_modules() if name and isinstance(module, PreTrainedModel)]
    return any(not any(place.startswith(f"{name}.") for name in inside) for place in places)


def _sources(model: nn.Module) -> dict[str, nn.Module]:
    """Linear layers and convolutions whose outputs, with no parameter after them, are the logits."""
    try:
        trace = traced(model)
    except ModelError:
        return {}
    modules = dict(model.named_modules())
    if isinstance(model, PreTrainedModel) and not trace.logits:
        # A few classifiers do not name what they give, as PPLCNet's.
        widths = {getattr(getattr(modules.get(name), "weight", None), "shape", (None,))[0] for name in trace.sources}
        if "Classification" not in type(model).__name__ or widths != {getattr(model.config, "num_labels", None)}:
            return {}
    found: dict[str, nn.Module] = {
        name: layer
        for name in trace.sources
        if isinstance(layer := modules.get(name), _LAST_LAYERS) and _is_pointwise(layer)
    }
    if (
        len(found) < len(trace.sources)
        and not {len(cast(Tensor, layer.weight)) for layer in found.values()} <= trace.widths
    ):
        return {}  # something else makes the logits of them, as two towers' similarity
    has_body = any(name.rpartition(".")[0] not in found for name in trace.first_use)
    return found if has_body else {}


def _auxiliary(model: nn.Module, sources: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """Heads beside the one that gives the logits, as GoogLeNet's in training and UperNet's: topmost modules, nothing of
    which enters the logits in evaluation, that end in a layer as wide as them."""
    if not sources:
        return {}
    widths = {len(cast(Tensor, layer.weight)) for layer in sources.values()}
    used = {".".join(name.split(".")[:end]) for name in _entering(model, sources) for end in range(name.count(".") + 1)}
    found: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        if not name or name in used or _is_under(name, found):
            continue
        layers = [inner for inner in module.modules() if isinstance(inner, _LAST_LAYERS)]
        if layers and layers[-1].weight.shape[0] in widths and _is_pointwise(layers[-1]):
            found[name] = module
    return found


def _entering(model: nn.Module, sources: Mapping[str, nn.Module]) -> list[str]:
    """Parameters whose values enter the logits."""
    trace = traced(model)
    own = [name for name in trace.first_use if name.rpartition(".")[0] in sources]
    before = 0
    for name in own:
        before |= trace.reads.get(name, 0)
    return own + [name for bit, name in enumerate(trace.names) if before >> bit & 1]


def _is_pointwise(layer: Any) -> bool:
    return isinstance(layer, nn.Linear) or all(side == 1 for side in layer.kernel_size)


def _head_of_inner(model: nn.Module, sources: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """The head of the one known network that all sources lie in, seen from ``model``; empty when there is none."""
    for name, module in model.named_modules():
        if name and (is_network(module) or registered_head(module)) and sources and _all_under(sources, name):
            head = {f"{name}.{own}": part for own, part in find_head(module).items()}
            if all(_is_under(source, head) for source in sources):
                return head
    if not sources and isinstance(model, nn.Sequential) and isinstance(model[-1], nn.Linear) and len(model) > 1:
        return {str(len(model) - 1): model[-1]}
    return {}


def _all_under(names: Mapping[str, object], top: str) -> bool:
    return all(name.startswith(f"{top}.") for name in names)


def _is_under(name: str, tops: Mapping[str, object]) -> bool:
    return any(name == top or name.startswith(f"{top}.") for top in tops)


def last_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Qualified name -> layer, of all layers whose outputs become the logits.

    By the traced forward; where none could be made, the last linear layer or convolution of each classifier (timm) or
    of the head.

    Raises:
        ModelError: When the model has no head, or its head holds no such layer.
    """
    inner, prefix = plain_model(model)
    if named := registered_head(inner):
        return {f"{prefix}{name}": module for name, module in named.items()}
    if sources := _sources(inner):
        for name, part in _auxiliary(inner, sources).items():
            *_, (own, layer) = ((n, m) for n, m in part.named_modules() if isinstance(m, _LAST_LAYERS))
            sources = {f"{name}.{own}".rstrip("."): layer, **sources}
        return {f"{prefix}{name}": layer for name, layer in sources.items()}
    heads = find_head(model)
    found: dict[str, nn.Module] = {}
    for name, module in heads.items():
        layers = [
            (f"{name}.{inner_name}".rstrip("."), layer)
            for inner_name, layer in module.named_modules()
            if isinstance(layer, _LAST_LAYERS)
        ]
        found |= dict(layers[-1:])
    if not found:
        raise ModelError(
            f"{type(inner).__name__} has no head whose last layer could be replaced. Load it for the task, such as "
            "AutoModelForImageClassification or AutoModelForSequenceClassification, or use load_model."
        )
    return found if timm_model(inner) is not None else dict(list(found.items())[-1:])


def last_layer(model: nn.Module) -> tuple[str, nn.Module]:
    """Qualified name and module of the layer that gives the logits; of several, the last.

    Raises:
        ModelError: When the model has no head, or its head holds no such layer.
    """
    return list(last_layers(model).items())[-1]
