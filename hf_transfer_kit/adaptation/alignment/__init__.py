"""Alignment of features that were computed once: nearly free, and the first thing to try."""

from hf_transfer_kit.adaptation.alignment.covariance import align_covariance
from hf_transfer_kit.adaptation.alignment.shallow import ALIGNMENTS, ShallowAdaptation, shallow_adaptation
from hf_transfer_kit.adaptation.alignment.standardisation import align_standardised
from hf_transfer_kit.adaptation.alignment.subspace import align_subspace
from hf_transfer_kit.adaptation.alignment.transport import align_transport

__all__ = [
    "ALIGNMENTS",
    "ShallowAdaptation",
    "align_covariance",
    "align_standardised",
    "align_subspace",
    "align_transport",
    "shallow_adaptation",
]
