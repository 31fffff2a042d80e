"""The network below the attributes: a classifier without its label head."""

from __future__ import annotations

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from hf_transfer_kit.backbones.adapters import without_adapter
from hf_transfer_kit.backbones.auto_classes import classifier_class, classifier_modalities
from hf_transfer_kit.backbones.feature_maps import label_head
from hf_transfer_kit.backbones.heads import TakenOff
from hf_transfer_kit.errors import ModelError, SettingsError


def take_head_off(network: PreTrainedModel) -> int:
    """Leaves nothing of the label head, and gives the number of features that entered it."""
    name, head = label_head(network)
    taken_off = nn.Sequential(nn.Flatten(), TakenOff()) if isinstance(head, nn.Sequential) else TakenOff()
    network.set_submodule(name, taken_off)
    return next(layer.in_features for layer in without_adapter(head).modules() if isinstance(layer, nn.Linear))


def new_network(config: PreTrainedConfig | None) -> PreTrainedModel:
    """A classifier of random weights.

    Raises:
        SettingsError: When there is no configuration.
        ModelError: When the architecture has no classifier.
    """
    if config is None:
        raise SettingsError(
            "A ZeroShotConfig needs backbone_config, the configuration of a classifier, to make a model of; or use "
            "ZeroShotModel.from_backbone(load_model(...), table)."
        )
    if config.model_type != "zero_shot" and (kinds := classifier_modalities(config)):
        return classifier_class(kinds[0]).from_config(config)
    raise ModelError(
        f"backbone_config is a {type(config).__name__}, an architecture without a classifier for images, texts or "
        "sounds. Choose one that has it."
    )
