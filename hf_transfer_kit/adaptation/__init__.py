"""A target without labels: networks whose features suit a labelled source and an unlabelled target at once."""

from hf_transfer_kit.adaptation.configuration import DomainAdversarialConfig
from hf_transfer_kit.adaptation.modeling import DomainAdversarialModel
from hf_transfer_kit.adaptation.reversal import reverse_gradient
from hf_transfer_kit.adaptation.schedule import (
    AdversarialSchedule,
    constant_strength,
    dann_strength,
    linear_strength,
)

__all__ = [
    "AdversarialSchedule",
    "DomainAdversarialConfig",
    "DomainAdversarialModel",
    "constant_strength",
    "dann_strength",
    "linear_strength",
    "reverse_gradient",
]
