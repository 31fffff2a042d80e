"""The task's head: where it is, and how to put a fresh one in its place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import nn
from transformers import PreTrainedModel

from hf_transfer_kit.backbones.example_inputs import traced
from hf_transfer_kit.backbones.sections import is_network, outside_base
from hf_transfer_kit.backbones.unwrapping import plain_model, timm_model
from hf_transfer_kit.errors import ModelError, SettingsError

_LAST_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)


def find_head(model: nn.Module) -> dict[str, nn.Module]:
    """All modules of the task's head, qualified name -> module, in order of definition; empty when there is none.

    For transformers' task models these are the direct children outside the base model (a pooler that belongs to the
    task included), for timm networks the classifier; besides, and for any other module, the layers whose outputs
    become the logits in one traced forward.
    """
    inner, prefix = plain_model(model)
    sources = _sources(inner)
    if (timm := timm_model(inner)) is not None:
        network, network_prefix = timm
        classifier = network.get_classifier()
        wanted = {id(m) for m in (classifier if isinstance(classifier, (tuple, list)) else (classifier,))}
        known = {n: m for n, m in network.named_modules() if id(m) in wanted and any(True for _ in m.parameters())}
        found = {f"{network_prefix}{name}": module for name, module in known.items()}
    elif isinstance(inner, PreTrainedModel):
        found = outside_base(inner)
    else:
        found = _head_of_inner(inner, sources)
    missing = {name: layer for name, layer in sources.items() if not _is_under(name, found)}
    missing |= {name: part for name, part in _auxiliary(inner, sources).items() if not _is_under(name, found)}
    if missing and (found or not isinstance(inner, PreTrainedModel) or traced(inner).logits):
        found = {name: module for name, module in inner.named_modules() if name in {**found, **missing}}
    return {f"{prefix}{name}": module for name, module in found.items()}


def _sources(model: nn.Module) -> dict[str, nn.Module]:
    """Linear layers and convolutions whose outputs, with no parameter after them, are the logits."""
    try:
        trace = traced(model)
    except ModelError:
        return {}
    if isinstance(model, PreTrainedModel) and not trace.logits:
        return {}
    modules = dict(model.named_modules())
    found = {
        name: layer
        for name in trace.sources
        if isinstance(layer := modules.get(name), _LAST_LAYERS) and _is_pointwise(layer)
    }
    if len(found) < len(trace.sources) and not {layer.weight.shape[0] for layer in found.values()} <= trace.widths:
        return {}  # something else makes the logits of them, as two towers' similarity
    has_body = any(name.rpartition(".")[0] not in found for name in trace.first_use)
    return found if has_body else {}


def _auxiliary(model: nn.Module, sources: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """Heads that only training runs, as GoogLeNet's: topmost modules, nothing of which was executed in evaluation, that
    end in a layer as wide as the logits."""
    widths = {layer.weight.shape[0] for layer in sources.values()}
    used = {".".join(name.split(".")[:end]) for name in _used(model, sources) for end in range(name.count(".") + 1)}
    found: dict[str, nn.Module] = {}
    for name, module in model.named_modules() if sources else ():
        layers = [inner for inner in module.modules() if isinstance(inner, _LAST_LAYERS)]
        if name and name not in used and layers and not _is_under(name, found):
            last = layers[-1]
            if last.weight.shape[0] in widths and _is_pointwise(last):
                found[name] = module
    return found


def _used(model: nn.Module, sources: Mapping[str, nn.Module]) -> Iterable[str]:
    return traced(model).first_use if sources else ()


def _is_pointwise(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear) or all(side == 1 for side in layer.kernel_size)


def _head_of_inner(model: nn.Module, sources: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """The head of the one known network that all sources lie in, seen from ``model``; empty when there is none."""
    for name, module in model.named_modules():
        if name and is_network(module) and sources and _all_under(sources, name):
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


def replace_head(
    model: nn.Module,
    num_labels: int | None = None,
    *,
    id2label: Mapping[int, str] | None = None,
    seed: int | None = None,
    init: str = "default",
    whole_head: bool = False,
) -> nn.Module:
    """Drops the last layer and puts a freshly, randomly initialised one in its place; all else stays bit-identical.

    Works in place. The config's ``num_labels``, ``id2label`` and ``label2id`` follow, so the model saves and reloads.

    Args:
        model: A classifier (images, texts, sounds, tokens) of transformers or timm, or a module ending in a Linear.
        num_labels: Number of classes; may be left out when ``id2label`` is given.
        id2label: Class index -> name.
        seed: Seed of the new weights, without touching the global random state; None draws from it.
        init: ``"default"``, the model's own initialisation, or ``"zeros"`` (uniform predictions at the start).
        whole_head: Initialise the head's other layers anew as well (a pooler, a dense layer before the last).

    Returns:
        The model.

    Raises:
        ModelError: When the model has no head.
        SettingsError: When the number of classes is missing, below 1 or contradicts ``id2label``.
    """
    id2label = _checked_labels(num_labels, id2label)
    if init not in ("default", "zeros"):
        raise SettingsError(f"init={init!r} is unknown; choose 'default' or 'zeros'.")
    inner, prefix = plain_model(model)
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        for name in last_layers(model):
            _replace_layer(inner, name.removeprefix(prefix), len(id2label), init)
        if whole_head:
            _initialize_rest(model)
    _update_config(inner, id2label)
    return model


def initialize_module(model: nn.Module, module: nn.Module) -> None:
    """Draws the weights of ``module`` and all beneath it anew, by the model's own rule where it has one."""
    rule = getattr(model, "_init_weights", None)
    for layer in module.modules():
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
        if callable(rule):
            rule(layer)


def _replace_layer(model: nn.Module, name: str, num_labels: int, init: str) -> None:
    parent_name, _, child_name = name.rpartition(".")
    parent = model.get_submodule(parent_name)
    old = getattr(parent, child_name)
    place = {"device": old.weight.device, "dtype": old.weight.dtype}
    bias = old.bias is not None
    if isinstance(old, nn.Linear):
        new = nn.Linear(old.in_features, num_labels, bias=bias, **place)
    else:
        new = type(old)(old.in_channels, num_labels, old.kernel_size, old.stride, old.padding, bias=bias, **place)
    setattr(parent, child_name, new.train(old.training))
    if init == "zeros":
        for parameter in new.parameters():
            nn.init.zeros_(parameter)
    elif isinstance(model, PreTrainedModel) and timm_model(model) is None:
        initialize_module(model, new)


def _initialize_rest(model: nn.Module) -> None:
    inner, _ = plain_model(model)
    last = {id(layer) for layer in (model.get_submodule(name) for name in last_layers(model))}
    for module in find_head(model).values():
        for layer in module.modules():
            if id(layer) not in last and _is_leaf_with_parameters(layer):
                initialize_module(inner, layer)


def _checked_labels(num_labels: int | None, id2label: Mapping[int, str] | None) -> dict[int, str]:
    if id2label is None:
        if num_labels is None or num_labels < 1:
            raise SettingsError(f"num_labels={num_labels}: give the number of classes, at least 1, or id2label.")
        return {index: f"LABEL_{index}" for index in range(num_labels)}
    labels = {int(index): str(label) for index, label in id2label.items()}
    if sorted(labels) != list(range(len(labels))) or num_labels not in (None, len(labels)):
        raise SettingsError(
            f"id2label names the classes {sorted(labels)} and num_labels is {num_labels}; the classes must be "
            "0, 1, 2, ... without a gap, and as many as num_labels."
        )
    return labels


def _update_config(model: nn.Module, id2label: dict[int, str]) -> None:
    """Tells the model's own bookkeeping about the new classes."""
    for owner in (model, getattr(model, "timm_model", None)):
        for attribute in ("num_labels", "num_classes"):
            if owner is not None and isinstance(vars(owner).get(attribute), int):
                setattr(owner, attribute, len(id2label))
    config = getattr(model, "config", None)
    if config is None:
        return
    config.id2label = id2label
    config.label2id = {label: index for index, label in id2label.items()}
    config.problem_type = None
    if hasattr(model, "timm_model"):
        # The wrapper's config repeats the classes under timm's names, and those win when it is read back.
        for attribute, value in (("num_classes", len(id2label)), ("label_names", list(id2label.values()))):
            if hasattr(config, attribute):
                setattr(config, attribute, value)
        if getattr(config, "pretrained_cfg", None):
            config.pretrained_cfg = {**config.pretrained_cfg, "num_classes": len(id2label)}


def _is_leaf_with_parameters(module: nn.Module) -> bool:
    return not any(True for _ in module.children()) and any(True for _ in module.parameters())
