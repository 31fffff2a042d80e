"""Entropy of predictions, and its minimisation on the target."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from hf_transfer_kit.adaptation.objectives.entropy_of_rows import row_entropy
from hf_transfer_kit.adaptation.objectives.objective import DomainBatch, Objective
from hf_transfer_kit.options import check_number


def conditional_entropy(logits: Tensor) -> Tensor:
    """Mean entropy of the softmax of each row (Grandvalet and Bengio 2005).

    Args:
        logits: (N, C).

    Returns:
        One element in [0, log C].
    """
    return -(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1).mean()


def prediction_diversity(logits: Tensor) -> Tensor:
    """Entropy of the mean prediction: log C when all classes are predicted equally often, 0 when only one is.

    Args:
        logits: (N, C).

    Returns:
        One element in [0, log C].
    """
    return row_entropy(logits.softmax(-1).mean(0))


class EntropyMinimisation(Objective):
    """Sure predictions on the target, of all classes: mean entropy minus the entropy of the mean.

    With ``diversity=0`` plain entropy minimisation (Grandvalet and Bengio 2005), which may give every row one class;
    with 1 information maximisation (Krause et al. 2010; Liang et al. 2020, SHOT), which supposes that the target has
    about as many rows of each class.

    Args:
        width: D, number of features.
        num_labels: C, number of classes.
        weight: Of the term, >= 0; 0.1 by default, so that labels lead.
        diversity: Of the entropy of the mean within it, >= 0.

    Raises:
        SettingsError: When an option is out of range.
    """

    name: ClassVar[str] = "entropy"
    summary: ClassVar[str] = "sure and diverse predictions on the target"

    def __init__(self, *, width: int, num_labels: int, weight: float = 0.1, diversity: float = 1.0) -> None:
        super().__init__(width=width, num_labels=num_labels)
        self.weight = check_number(self.name, "weight", weight, low=0)
        self.diversity = check_number(self.name, "diversity", diversity, low=0)

    def compute_terms(self, batch: DomainBatch) -> dict[str, Tensor]:
        """``target_entropy_loss``: what is minimised; below 0 when classes are diverse and sure."""
        logits = batch.target_logits
        value = conditional_entropy(logits) - self.diversity * prediction_diversity(logits)
        return {"target_entropy_loss": self.weight * value}
