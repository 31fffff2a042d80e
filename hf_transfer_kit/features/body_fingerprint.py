"""What the features of a network depend on: the weights before its head, and how they are put to use."""

from __future__ import annotations

import json

import timm
import torch
import transformers
from torch import nn

from hf_transfer_kit.backbones import find_head
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
    tensors = {
        name: tensor for name, tensor in [*inner.named_parameters(), *inner.named_buffers()] if not is_under(name, head)
    }
    return combined(weights_fingerprint(tensors), _settings(inner, head), versions())


def versions() -> dict[str, str]:
    """Versions of the libraries that decide what a network computes."""
    return {"torch": torch.__version__, "transformers": transformers.__version__, "timm": timm.__version__}


def _settings(model: nn.Module, head: set[str]) -> dict[str, object]:
    """Facts that are no weights: classes of the modules, strides, epsilons, the config."""
    modules = [
        f"{name} {type(module).__module__}.{type(module).__qualname__}({module.extra_repr()})"
        for name, module in model.named_modules()
        if not is_under(name, head)
    ]
    config = getattr(model, "config", None)
    facts = config.to_dict() if hasattr(config, "to_dict") else {}
    kept = {key: value for key, value in facts.items() if key not in _NOT_THE_BODY}
    return {"modules": modules, "config": json.dumps(kept, sort_keys=True, default=str)}
