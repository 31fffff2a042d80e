"""What a pretrained network is made of."""

from typing import TYPE_CHECKING

from hf_transfer_kit.lazy_words import load_when_used

if TYPE_CHECKING:
    from hf_transfer_kit.backbones.adapters import adaptable_layers, is_adapted, merged
    from hf_transfer_kit.backbones.checkpoints import DTYPES, checkpoint_config, stored_dtype
    from hf_transfer_kit.backbones.class_embeddings import (
        TEMPLATES,
        JointTowers,
        checked_templates,
        class_embeddings,
        load_towers,
    )
    from hf_transfer_kit.backbones.dann_mnist import DannMnistConfig, DannMnistForImageClassification
    from hf_transfer_kit.backbones.growing import extend_head, known_classes
    from hf_transfer_kit.backbones.heads import find_head
    from hf_transfer_kit.backbones.initialization import reinitialize
    from hf_transfer_kit.backbones.joint_towers import joint_modality
    from hf_transfer_kit.backbones.layer_groups import layer_groups
    from hf_transfer_kit.backbones.loading import load_model, load_processor
    from hf_transfer_kit.backbones.modality import modality_of
    from hf_transfer_kit.backbones.new_heads import replace_head
    from hf_transfer_kit.backbones.pooled_encoder import PooledEncoderConfig, PooledEncoderForSequenceClassification
    from hf_transfer_kit.backbones.pooled_sounds import PooledSoundsConfig, PooledSoundsForAudioClassification
    from hf_transfer_kit.backbones.registry import register_architecture, register_head
    from hf_transfer_kit.backbones.torchvision_networks import TorchvisionConfig, TorchvisionForImageClassification
    from hf_transfer_kit.backbones.tower_classifier import TowerConfig, TowerForClassification
    from hf_transfer_kit.backbones.tower_loading import load_tower_classifier
    from hf_transfer_kit.backbones.windows import fit_window

__all__ = [
    "DTYPES",
    "TEMPLATES",
    "DannMnistConfig",
    "DannMnistForImageClassification",
    "JointTowers",
    "PooledEncoderConfig",
    "PooledEncoderForSequenceClassification",
    "PooledSoundsConfig",
    "PooledSoundsForAudioClassification",
    "TorchvisionConfig",
    "TorchvisionForImageClassification",
    "TowerConfig",
    "TowerForClassification",
    "adaptable_layers",
    "checked_templates",
    "checkpoint_config",
    "class_embeddings",
    "extend_head",
    "find_head",
    "fit_window",
    "is_adapted",
    "joint_modality",
    "known_classes",
    "layer_groups",
    "load_model",
    "load_processor",
    "load_tower_classifier",
    "load_towers",
    "merged",
    "modality_of",
    "register_architecture",
    "register_head",
    "reinitialize",
    "replace_head",
    "stored_dtype",
]

load_when_used(
    __name__, at_once=["dann_mnist", "pooled_encoder", "pooled_sounds", "torchvision_networks", "tower_classifier"]
)
