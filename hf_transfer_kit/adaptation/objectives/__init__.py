"""Methods of adaptation, one file each."""

from hf_transfer_kit.adaptation.objectives.objective import DomainBatch, Objective

__all__ = ["DomainBatch", "Objective"]
