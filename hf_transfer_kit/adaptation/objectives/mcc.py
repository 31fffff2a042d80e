"""Minimum class confusion: target predictions that mix up few classes."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from hf_transfer_kit.adaptation.objectives.entropy_of_rows import certainty_weights
from hf_transfer_kit.adaptation.objectives.objective import DomainBatch, Objective
from hf_transfer_kit.options import check_number


def class_confusion(logits: Tensor, temperature: float = 2.5) -> Tensor:
    """Mean share of each class's confusion that is with other classes (Jin et al. 2020).

    Y = softmax(logits / temperature), W_ii = 1 + exp(-H(y_i)) (their scale cancels), K = Y^T W Y, each row of K
    divided by its sum; L = (sum of K off the diagonal) / C. The weights carry no gradient.

    Args:
        logits: Of target rows, (N, C).
        temperature: Above 0; larger is softer.

    Returns:
        One element in [0, 1 - 1/C], up to rounding.
    """
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    probabilities = (logits / temperature).softmax(-1)
    weights = certainty_weights(probabilities.detach())
    confusion = probabilities.T @ (weights[:, None] * probabilities)  # (C, C)
    # A class that no row gives any probability confuses nothing.
    confusion = confusion / confusion.sum(1, keepdim=True).clamp_min(torch.finfo(confusion.dtype).tiny)
    return (confusion.sum() - confusion.trace()) / len(confusion)


class MCC(Objective):
    """Minimum class confusion (Jin et al. 2020, ECCV). Needs batches that are larger than the number of classes.

    Args:
        width: D, number of features.
        num_labels: C, number of classes.
        temperature: Above 0; the paper's 2.5.
        weight: Of the term, >= 0.

    Raises:
        SettingsError: When an option is out of range.
    """

    name: ClassVar[str] = "mcc"
    summary: ClassVar[str] = "target predictions that mix up few classes"

    def __init__(self, *, width: int, num_labels: int, temperature: float = 2.5, weight: float = 1.0) -> None:
        super().__init__(width=width, num_labels=num_labels)
        self.temperature = check_number(self.name, "temperature", temperature, low=0, above=True)
        self.weight = check_number(self.name, "weight", weight, low=0)

    def compute_terms(self, batch: DomainBatch) -> dict[str, Tensor]:
        """``confusion_loss``: class confusion of the target rows."""
        return {"confusion_loss": self.weight * class_confusion(batch.target_logits, self.temperature)}
