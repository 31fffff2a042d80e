"""One task as a plain checkpoint: the trunk with one head, in transformers' own class."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from hf_transfer_kit.backbones.adapters import merge_adapters
from hf_transfer_kit.backbones.heads import last_layer
from hf_transfer_kit.backbones.new_heads import replace_head, transcript_settings
from hf_transfer_kit.backbones.precision import HALF
from hf_transfer_kit.errors import ModelError
from hf_transfer_kit.multitask.configuration import MultiTaskConfig
from hf_transfer_kit.multitask.heads import HEADS, Head
from hf_transfer_kit.multitask.stems import join_input
from hf_transfer_kit.multitask.trunk import FeatureReader, auto_class, load_body, restore_head


def plain_model_of(
    trunk: PreTrainedModel, head: Head, reader: FeatureReader, config: MultiTaskConfig, task: str
) -> PreTrainedModel:
    """A copy of trunk and head as the class of transformers for one task, its logits those of the multi-task model.

    Args:
        trunk: The network without its label head; it stays as it is.
        head: Of the task, which stays likewise.
        reader: What reads the trunk's features.
        config: Of the multi-task model.
        task: One of its tasks.

    Raises:
        ModelError: When the class has no place for what the head learned.
    """
    settings = config.tasks[task]
    trunk = copy.deepcopy(trunk)
    merge_adapters(trunk)
    join_input(trunk, settings["input"])
    like = {"device": head.linear.weight.device, "dtype": head.linear.weight.dtype}
    linear = nn.Linear(trunk_width(reader), 1, bias=reader.has_bias, **like)
    restore_head(trunk, reader.head_name, linear)
    _tell_input(trunk.config, config.inputs[settings["input"]])
    auto: Any = auto_class(trunk.config, settings["type"])
    if isinstance(trunk, auto._model_mapping[type(trunk.config)]):
        plain = trunk
    else:
        plain = auto.from_config(_head_config(trunk.config, settings)).to(device=trunk.device, dtype=trunk.dtype)
        load_body(plain, trunk)
    id2label = settings.get("id2label")
    replace_head(plain, None if id2label else settings["num_labels"], id2label=id2label, seed=0)
    if settings["type"] == "regression" and plain.dtype in HALF:
        plain.float()  # years and prices are rounded to tens in half precision
    layer, state = last_layer(plain)[1], head.plain_state()
    if layer.bias is None and "bias" in state:
        raise ModelError(
            f"{type(plain).__name__} has a head without a bias, so it cannot hold the mean of {task!r}. Give the task "
            "mean=0 before it is trained, or export the whole model."
        )
    layer.load_state_dict(state)
    for name, value in _head_settings(settings).items():
        setattr(plain.config, name, value)
    plain.config.architectures = [type(plain).__name__]
    return plain.eval()


def trunk_width(reader: FeatureReader) -> int:
    """Features that enter the place of the trunk's own label head."""
    return next(iter(reader.width.values()))


def _head_config(config: PreTrainedConfig, settings: dict[str, Any]) -> PreTrainedConfig:
    config = copy.deepcopy(config)
    config.num_labels = settings["num_labels"]
    for name, value in _head_settings(settings).items():
        setattr(config, name, value)
    return config


def _head_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """What a configuration of transformers says of a task beside its classes."""
    if settings["type"] == "ctc":
        return transcript_settings(settings["num_labels"], blank=settings["blank"])
    return {"problem_type": HEADS[settings["type"]].problem_type}


def _tell_input(config: PreTrainedConfig, settings: dict[str, int]) -> None:
    """Writes an input's own sizes where the architecture reads them."""
    if "vocab_size" in settings:
        config.vocab_size = settings["vocab_size"]
    if "channels" not in settings:
        return
    if config.model_type == "timm_wrapper":
        config.model_args = {**(config.model_args or {}), "in_chans": settings["channels"]}
    else:
        config.num_channels = settings["channels"]
