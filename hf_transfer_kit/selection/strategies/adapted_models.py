"""A network under an adapter of peft, with the parts that learn beside it."""

from __future__ import annotations

import functools
from typing import Any, cast

import torch
from transformers import PreTrainedModel

from hf_transfer_kit.backbones import adaptable_layers, find_head
from hf_transfer_kit.backbones.adapters import adapter_saving
from hf_transfer_kit.backbones.checkpoints import drawn_parts


def adapted_parts(model: PreTrainedModel, groups: int | None) -> dict[str, Any]:
    """Which layers a configuration of peft names.

    Beside the head, what the checkpoint had no weights of learns as well and is saved with the adapter: frozen it would
    stay as it was drawn, and whoever puts the adapter on its base would draw other numbers.

    Args:
        model: The model, without adapters.
        groups: Only this many layer groups bear adapters, those nearest the head; None: all before the head.
    """
    heads = [name for name, module in find_head(model).items() if any(True for _ in module.parameters())]
    drawn = drawn_parts(model)
    layers = [name for name in adaptable_layers(model, last=groups) if name not in drawn]
    return {"target_modules": layers, "modules_to_save": [*heads, *drawn]}


def with_adapter(model: PreTrainedModel, config: Any, *, seed: int) -> PreTrainedModel:
    """The model under an adapter whose weights are drawn with the seed; the global random state is not touched."""
    from peft import get_peft_model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        adapted = cast(PreTrainedModel, get_peft_model(model, config))
    if told := adapter_saving(adapted):
        # Trainer saves checkpoints itself, and tells nothing.
        cast(Any, adapted).save_pretrained = functools.partial(adapted.save_pretrained, **told)
    return adapted
