"""What does not fit together: rows of both domains, a configuration and a classifier."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from hf_transfer_kit.adaptation.configuration import DomainAdversarialConfig
from hf_transfer_kit.backbones.auto_classes import classifier_class, classifier_modalities
from hf_transfer_kit.errors import DataError, ModelError, SettingsError


def check_channels(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    """Refuses pictures of both domains that differ in their channels.

    Raises:
        DataError: With how many either has.
    """
    for name, value in source.items():
        other = target.get(name)
        if other is not None and value.dim() == 4 and value.shape[1] != other.shape[1]:
            raise DataError(
                f"{name} of the source has {value.shape[1]} channels, of the target {other.shape[1]}, and one network "
                "reads both. Prepare both alike: prepare_data(..., like=source), or convert grey pictures to RGB."
            )


def new_classifier(config: PreTrainedConfig | None) -> PreTrainedModel:
    """A classifier of random weights.

    Raises:
        SettingsError: When there is no configuration.
        ModelError: When the architecture has no classifier.
    """
    if config is None:
        raise SettingsError(
            "A DomainAdversarialConfig needs backbone_config, the configuration of a classifier, to make a model of; "
            "or use DomainAdversarialModel.from_classifier(load_model(...))."
        )
    if type(config) is not DomainAdversarialConfig and (kinds := classifier_modalities(config)):
        return classifier_class(kinds[0]).from_config(config)
    raise ModelError(
        f"backbone_config is a {type(config).__name__}, an architecture without a classifier for images, texts or "
        "sounds. Choose one that has it, or register yours with AutoModelForImageClassification.register."
    )
