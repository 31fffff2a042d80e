"""What a pretrained network is made of."""

from hf_transfer_kit.backbones.adapters import adaptable_layers, is_adapted, merged
from hf_transfer_kit.backbones.dann_mnist import DannMnistConfig, DannMnistForImageClassification
from hf_transfer_kit.backbones.growing import extend_head, known_classes
from hf_transfer_kit.backbones.heads import find_head
from hf_transfer_kit.backbones.initialization import reinitialize
from hf_transfer_kit.backbones.layer_groups import layer_groups
from hf_transfer_kit.backbones.loading import DTYPES, load_model, load_processor, stored_dtype
from hf_transfer_kit.backbones.modality import modality_of
from hf_transfer_kit.backbones.new_heads import replace_head
from hf_transfer_kit.backbones.registry import register_architecture, register_head
from hf_transfer_kit.backbones.torchvision_networks import TorchvisionConfig, TorchvisionForImageClassification

__all__ = [
    "DTYPES",
    "DannMnistConfig",
    "DannMnistForImageClassification",
    "TorchvisionConfig",
    "TorchvisionForImageClassification",
    "adaptable_layers",
    "extend_head",
    "find_head",
    "is_adapted",
    "known_classes",
    "layer_groups",
    "load_model",
    "load_processor",
    "merged",
    "modality_of",
    "register_architecture",
    "register_head",
    "reinitialize",
    "replace_head",
    "stored_dtype",
]
