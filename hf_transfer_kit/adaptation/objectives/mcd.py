"""Maximum classifier discrepancy: two classifiers must agree on the target."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from hf_transfer_kit.adaptation.objectives.objective import DomainBatch, Objective
from hf_transfer_kit.adaptation.reversal import reverse_gradient
from hf_transfer_kit.options import check_number


def classifier_discrepancy(first: Tensor, second: Tensor) -> Tensor:
    """Mean over rows and classes of |p_1 - p_2|, p the softmax (Saito et al. 2018, equation 1).

    Args:
        first: Logits of one classifier, (N, C).
        second: Logits of the other, (N, C).

    Returns:
        One element in [0, 2 / C].
    """
    return (first.softmax(-1) - second.softmax(-1)).abs().mean()


class MCD(Objective):
    """Maximum classifier discrepancy (Saito et al. 2018) in one step.

    The paper's three steps in turn become one by gradient reversal: both classifiers raise their discrepancy on the
    target, the features lower it. So here target rows do move the label head. The exported classifier is the first
    one, the model's label head.

    Args:
        width: D, number of features.
        num_labels: C, number of classes.
        weight: Of the discrepancy, >= 0.

    Raises:
        SettingsError: When an option is out of range.
    """

    name: ClassVar[str] = "mcd"
    summary: ClassVar[str] = "two classifiers that must agree on the target"

    def __init__(self, *, width: int, num_labels: int, weight: float = 1.0) -> None:
        super().__init__(width=width, num_labels=num_labels)
        self.weight = check_number(self.name, "weight", weight, low=0)
        self.second = nn.Linear(width, num_labels)

    def compute_terms(self, batch: DomainBatch) -> dict[str, Tensor]:
        """``second_class_loss``: the second classifier on source rows; ``discrepancy_loss``: minus the discrepancy."""
        features = reverse_gradient(batch.target_features, batch.strength)
        second = self.second(features)
        batch.memo["second_classes"] = second.detach().argmax(-1)
        discrepancy = classifier_discrepancy(batch.classify(features), second)
        return {
            "second_class_loss": functional.cross_entropy(self.second(batch.source_features), batch.labels),
            "discrepancy_loss": -self.weight * discrepancy,
        }

    @torch.no_grad()
    def diagnostics(self, batch: DomainBatch) -> dict[str, Tensor]:
        """``disagreement``: share of target rows whose two classes differ, in [0, 1]."""
        return {
            **super().diagnostics(batch),
            "disagreement": (batch.memo["second_classes"] != batch.target_logits.argmax(-1)).float().mean(),
        }
