"""Choosing without labels of the target: scores of a network, and a callback that lets Trainer choose by them."""

from hf_transfer_kit.adaptation.scores.agreement import Agreement, agreement
from hf_transfer_kit.adaptation.scores.callback import TargetScores, domain_outputs
from hf_transfer_kit.adaptation.scores.domain_outputs import DomainOutputs
from hf_transfer_kit.adaptation.scores.importance import deep_embedded_validation
from hf_transfer_kit.adaptation.scores.neighbourhood_density import soft_neighbourhood_density
from hf_transfer_kit.adaptation.scores.prediction_matrix import class_correlation, nuclear_norm
from hf_transfer_kit.adaptation.scores.predictions import information, mean_entropy, source_accuracy
from hf_transfer_kit.adaptation.scores.proxy_distance import proxy_a_distance
from hf_transfer_kit.adaptation.scores.registry import SCORES, TargetScore, register_score, target_scores

__all__ = [
    "SCORES",
    "Agreement",
    "DomainOutputs",
    "TargetScore",
    "TargetScores",
    "agreement",
    "class_correlation",
    "deep_embedded_validation",
    "domain_outputs",
    "information",
    "mean_entropy",
    "nuclear_norm",
    "proxy_a_distance",
    "register_score",
    "soft_neighbourhood_density",
    "source_accuracy",
    "target_scores",
]
