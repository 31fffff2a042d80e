"""The trunk: a network without its label head, which gives pooled features, a sequence of them, or both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
import transformers
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.models.auto.auto_factory import _BaseAutoModelClass

from hf_transfer_kit.backbones.adapters import adapter_settings, outermost, put_adapters, without_adapter
from hf_transfer_kit.backbones.auto_classes import TASK_CLASSES, classifier_class, classifier_modalities
from hf_transfer_kit.backbones.feature_maps import logits_layer, position_mask
from hf_transfer_kit.backbones.heads import PassedOn, find_head
from hf_transfer_kit.errors import ModelError, SettingsError
from hf_transfer_kit.multitask.heads import HEADS, POOLED, SEQUENCE

_KEPT = "_kept_sequence"
_OPTIONAL = ("pooler", "mask_token", "masked_spec_embed", "position_ids")


@dataclass(frozen=True)
class Features:
    """What the trunk made of one input's rows.

    Args:
        of: ``"pooled"`` -> features (N, D), ``"sequence"`` -> features (N, T, D), as far as the tasks read them. No
            one of them is made of another, so their gradients are parts of one whole.
        lengths: Number of positions of each row that are no padding, int64 of shape (N,); None where all are.
    """

    of: Mapping[str, Tensor]
    lengths: Tensor | None = None


def kinds_read(kinds: Iterable[str]) -> tuple[str, ...]:
    """Which features heads of these kinds read, ``"pooled"`` first."""
    read = {HEADS[kind].reads for kind in kinds}
    return tuple(name for name in (POOLED, SEQUENCE) if name in read)


def network_class(config: PreTrainedConfig, kinds: Iterable[str]) -> type[_BaseAutoModelClass]:
    """transformers' Auto class whose network is the trunk of tasks of these kinds.

    It is the modality's classifier where a task reads pooled features, else the class of the first kind.

    Raises:
        ModelError: When the architecture has no class for one of the kinds.
    """
    kinds = list(kinds)
    for kind in kinds:
        mapping = HEADS[kind].mapping
        fits = classifier_modalities(config) if mapping is None else type(config) in getattr(transformers, mapping)
        if not fits:
            raise ModelError(
                f"{config.model_type!r} is an architecture without a class for {kind} in transformers, so no task of "
                f"type {kind!r} can stand on it. Choose another backbone, or leave the task out."
            )
    if POOLED in kinds_read(kinds):
        return classifier_class(classifier_modalities(config)[0])
    return auto_class(config, kinds[0])


def auto_class(config: PreTrainedConfig, kind: str) -> type:
    """transformers' Auto class for a single task of this kind."""
    if HEADS[kind].mapping is None:
        return classifier_class(classifier_modalities(config)[0])
    return getattr(transformers, TASK_CLASSES[kind][0])


def new_network(config: PreTrainedConfig | None, kinds: Iterable[str]) -> PreTrainedModel:
    """A network of random weights whose trunk these tasks can stand on.

    Raises:
        SettingsError: When there is no configuration or no task.
        ModelError: When the architecture does not fit.
    """
    kinds = list(kinds)
    if config is None or not kinds:
        raise SettingsError(
            "A MultiTaskConfig needs backbone_config, the configuration of a network, and at least one task to make a "
            "model of; or use MultiTaskModel.from_backbone(load_model(...), tasks)."
        )
    if not isinstance(count := getattr(config, "num_labels", None), int) or count < 1:
        config.num_labels = 2  # a timm encoder's configuration counts no class
    return network_class(config, kinds).from_config(config)


def fitting_network(network: PreTrainedModel, kinds: Iterable[str]) -> PreTrainedModel:
    """``network`` itself where its class fits the tasks, else one of the class that does, with its body's weights.

    Raises:
        ModelError: When the architecture does not fit, or the body lacks weights.
    """
    kinds = list(kinds)
    auto: Any = network_class(network.config, kinds)
    if isinstance(network, auto._model_mapping[type(network.config)]):
        return network
    fitting = new_network(network.config, kinds)
    put_adapters(fitting, adapter_settings(network))
    load_body(fitting, network)
    return cast(Any, fitting).to(device=network.device, dtype=network.dtype)


def load_body(network: PreTrainedModel, source: PreTrainedModel) -> None:
    """Copies the weights of ``source``'s body into ``network``'s; poolers may be missing.

    Raises:
        ModelError: When another weight is missing.
    """
    found = network.base_model.load_state_dict(source.base_model.state_dict(), strict=False)
    head = tuple(f"{name.removeprefix(network.base_model_prefix + '.')}." for name in find_head(network))
    missing = [key for key in found.missing_keys if not key.startswith(head) and not any(p in key for p in _OPTIONAL)]
    if missing:
        raise ModelError(
            f"{type(source).__name__} lacks {len(missing)} weights of {type(network).__name__}'s body, such as "
            f"{missing[0]!r}. Load the backbone with load_model, or with the Auto class of its task."
        )


class FeatureReader:
    """Takes the label head off a network and reads what stood before it.

    Args:
        network: Changed in place: its last linear layer becomes an identity, so that what it gives as logits is its
            pooled features, by its own way of pooling.
        kinds: Types of the tasks.

    Attributes:
        head_name: Where the label head was.
        width: ``"pooled"`` and ``"sequence"`` -> number of features D.
        has_bias: Whether the label head had a bias: a plain checkpoint has no place for one otherwise.

    Raises:
        ModelError: When the network has no linear layer at its end, or several of them side by side.
    """

    def __init__(self, network: PreTrainedModel, kinds: Iterable[str]) -> None:
        heads = [name for name, module in find_head(network).items() if isinstance(module, nn.Linear)]
        if hasattr(network, "timm_model") and len(heads) > 1:
            raise ModelError(
                f"{type(network).__name__} averages the logits of {', '.join(heads)}, so no single row of features "
                "stands before its head. Choose an architecture with one head."
            )
        self.reads = kinds_read(kinds)
        self.head_name = outermost(network, logits_layer(network)[0])
        layer = cast(nn.Linear, without_adapter(network.get_submodule(self.head_name)))
        self.width: dict[str, int] = {POOLED: layer.in_features}
        self.has_bias = layer.bias is not None
        network.set_submodule(self.head_name, PassedOn())
        if SEQUENCE in self.reads:
            self.width[SEQUENCE] = network.config.hidden_size
            network.base_model.register_forward_hook(_keep_sequence)

    def read(self, network: PreTrainedModel, inputs: Mapping[str, Tensor]) -> Features:
        """Features of a batch, from one forward.

        Args:
            network: The network given at first, or a copy of it.
            inputs: Its inputs, by its own names.

        Raises:
            ModelError: When it gives no single row of features for each row of the batch.
        """
        pooled = network(**inputs).logits
        found, lengths = {}, None
        if POOLED in self.reads:
            if pooled.dim() != 2 or pooled.shape[1] != self.width[POOLED]:
                raise ModelError(
                    f"What enters {self.head_name!r} of {type(network).__name__} has the shape {tuple(pooled.shape)}: "
                    f"no pooled features, one row of {self.width[POOLED]} for each input. Choose a backbone that pools "
                    "before its head."
                )
            found[POOLED] = pooled
        if SEQUENCE in self.reads:
            found[SEQUENCE] = vars(network.base_model).pop(_KEPT)  # (N, T, D)
            mask = position_mask(network, inputs.get("attention_mask"), found[SEQUENCE].shape[1])
            lengths = None if mask is None else mask.sum(dim=1)
        # Pooled features are made of the sequence; as views of their own neither is an ancestor of the other.
        return Features({name: tensor.view_as(tensor) for name, tensor in found.items()}, lengths)


def head_dropout(config: PreTrainedConfig, kind: str) -> float:
    """Dropout before the label head where the trunk has none: that of transformers' own class for the kind."""
    if HEADS[kind].reads == POOLED:
        return 0.0
    names = ("final_dropout",) if kind == "ctc" else ("classifier_dropout", "hidden_dropout_prob", "dropout")
    given = (getattr(config, name, None) for name in names)
    return next((float(value) for value in given if isinstance(value, (int, float))), 0.0)


def restore_head(network: PreTrainedModel, head_name: str, linear: nn.Linear) -> None:
    """Puts a label head back in place and undoes what ``FeatureReader`` changed."""
    network.set_submodule(head_name, linear)
    hooks = network.base_model._forward_hooks
    for key in [key for key, hook in hooks.items() if hook is _keep_sequence]:
        del hooks[key]


def _keep_sequence(module: nn.Module, args: tuple, output: object) -> None:
    """Keeps a body's positions beside it; a function of the module alone, so that copies of it keep their own."""
    sequence = getattr(output, "last_hidden_state", output[0] if isinstance(output, tuple) else None)
    if not isinstance(sequence, torch.Tensor) or sequence.dim() != 3:
        raise ModelError(f"{type(module).__name__} gives no sequence of features, (N, T, D), that a head could read.")
    vars(module)[_KEPT] = sequence
