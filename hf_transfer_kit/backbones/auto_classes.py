"""transformers' Auto classes by what a network reads and what its classes are of."""

from __future__ import annotations

import transformers
from transformers import PreTrainedConfig
from transformers.models.auto.auto_factory import _BaseAutoModelClass

from hf_transfer_kit.backbones.torchvision_networks import TorchvisionConfig
from hf_transfer_kit.errors import ModelError
from hf_transfer_kit.task_types import CTC, TOKEN_CLASSIFICATION

_CLASSIFIERS = {
    "image": "AutoModelForImageClassification",
    "text": "AutoModelForSequenceClassification",
    "audio": "AutoModelForAudioClassification",
}
_MAPPINGS = {
    "image": "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING",
    "text": "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING",
    "audio": "MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING",
}
TASK_CLASSES = {
    TOKEN_CLASSIFICATION: ("AutoModelForTokenClassification", "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING"),
    CTC: ("AutoModelForCTC", "MODEL_FOR_CTC_MAPPING"),
}
"""Type of task -> Auto class of its networks, and transformers' mapping; of other types it is the classifier's."""


def classifier_class(modality: str) -> type[_BaseAutoModelClass]:
    """transformers' Auto class of classifiers for images, texts or sounds."""
    return getattr(transformers, _CLASSIFIERS[modality])


def task_class(config: PreTrainedConfig, name: str, task_type: str) -> type[_BaseAutoModelClass]:
    """transformers' Auto class of networks for a type of ``TASK_CLASSES``.

    Raises:
        ModelError: When it has none of this architecture.
    """
    auto, mapping = TASK_CLASSES[task_type]
    if type(config) not in getattr(transformers, mapping):
        raise ModelError(
            f"{name} is a {config.model_type!r} model, which transformers has no {auto.removeprefix('Auto')} of, and "
            f"{task_type} needs one. Choose another network."
        )
    return getattr(transformers, auto)


def classifier_modalities(config: PreTrainedConfig) -> list[str]:
    """For what transformers has a classifier of this architecture; empty when for nothing."""
    if isinstance(config, (transformers.TimmWrapperConfig, TorchvisionConfig)):
        return ["image"]
    if config.model_type == "joint_tower":  # registered for both
        return [config.reads]
    return [kind for kind, mapping in _MAPPINGS.items() if type(config) in getattr(transformers, mapping)]


def classifier_modality(config: PreTrainedConfig, name: str, modality: str | None) -> str:
    """The one of them that is meant.

    Raises:
        ModelError: When there is none, or not the one that is named.
    """
    possible = classifier_modalities(config)
    if modality in possible:
        return modality
    if not possible or modality is not None:
        what = f"for {modality}" if modality else "for images, texts or sounds"
        raise ModelError(
            f"{name} is a {config.model_type!r} model, an architecture without a classifier {what} in transformers."
        )
    return possible[0]
