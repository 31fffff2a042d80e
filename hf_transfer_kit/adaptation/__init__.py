"""A target without labels: networks whose features suit a labelled source and an unlabelled target at once."""

from hf_transfer_kit.adaptation.configuration import DomainAdversarialConfig
from hf_transfer_kit.adaptation.domain_pairs import DomainCollator, DomainPairs, check_same_classes
from hf_transfer_kit.adaptation.modeling import DomainAdversarialModel
from hf_transfer_kit.adaptation.paper_network import DannMnistConfig, DannMnistForImageClassification, DannMnistModel
from hf_transfer_kit.adaptation.reestimation import ReestimateBatchNorm, reestimate_batch_norm
from hf_transfer_kit.adaptation.reversal import reverse_gradient
from hf_transfer_kit.adaptation.schedule import (
    AdversarialSchedule,
    constant_strength,
    dann_strength,
    linear_strength,
)
from hf_transfer_kit.adaptation.streamed_pairs import StreamedDomainPairs

__all__ = [
    "AdversarialSchedule",
    "DannMnistConfig",
    "DannMnistForImageClassification",
    "DannMnistModel",
    "DomainAdversarialConfig",
    "DomainAdversarialModel",
    "DomainCollator",
    "DomainPairs",
    "ReestimateBatchNorm",
    "StreamedDomainPairs",
    "check_same_classes",
    "constant_strength",
    "dann_strength",
    "linear_strength",
    "reestimate_batch_norm",
    "reverse_gradient",
]
