"""What the outputs of a network's layers depend on: their weights, and how they are put to use."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from importlib.metadata import version
from typing import Any

import torch
import transformers
from torch import nn

from hf_transfer_kit.backbones import find_head, layer_groups
from hf_transfer_kit.backbones.adapters import is_under
from hf_transfer_kit.backbones.unwrapping import plain_model
from hf_transfer_kit.features.fingerprints import combined, weights_fingerprint

# What a config says of the head, of where it came from, and of the version that wrote it.
_NOT_THE_BODY = {
    "id2label",
    "label2id",
    "num_labels",
    "num_classes",
    "label_names",
    "problem_type",
    "classifier_dropout",
    "pretrained_cfg",
    "architectures",
    "transformers_version",
    "_name_or_path",
    "name_or_path",
}


def body_fingerprint(model: nn.Module) -> str:
    """A short text that changes with any weight or buffer before the head, and with how they are used.

    The head's own weights and classes do not matter, nor do the device and the wrappers of DistributedDataParallel and
    torch.compile. Versions of torch, transformers and timm do.
    """
    inner, _ = plain_model(model)
    head = set(find_head(inner))
    return _fingerprint(inner, lambda name: not is_under(name, head))


def features_fingerprint(model: nn.Module, last: Collection[str]) -> str:
    """The same for all but the named layers, the last ones: what stands before them in the head counts too."""
    return _fingerprint(model, lambda name: not is_under(name, set(last)))


def prefix_fingerprint(model: nn.Module, depth: int) -> str:
    """The same for the first ``depth`` layer groups alone: later layers may hold anything."""
    groups = layer_groups(model)
    later = {name for group in groups[depth:] for name in (*group.modules, *group.parameters)}
    return combined(_fingerprint(model, lambda name: not is_under(name, later)), {"depth": depth})


def versions() -> dict[str, str]:
    """Versions of the libraries that decide what a network computes."""
    return {"torch": torch.__version__, "transformers": transformers.__version__, "timm": version("timm")}


def _fingerprint(model: nn.Module, counts: Callable[[str], bool]) -> str:
    named = [*model.named_parameters(), *model.named_buffers()]
    weights = weights_fingerprint({name: tensor for name, tensor in named if counts(name)})
    return combined(weights, _settings(model, counts), versions())


def _settings(model: nn.Module, counts: Callable[[str], bool]) -> dict[str, object]:
    """Facts that are no weights: classes of the modules, strides, epsilons, the config."""
    modules = [
        f"{name} {type(module).__module__}.{type(module).__qualname__}({module.extra_repr()})"
        for name, module in model.named_modules()
        if counts(name)
    ]
    config: Any = getattr(model, "config", None)
    facts = config.to_dict() if hasattr(config, "to_dict") else {}
    kept = {key: value for key, value in facts.items() if key not in _NOT_THE_BODY}
    return {"modules": modules, "config": json.dumps(kept, sort_keys=True, default=str)}
