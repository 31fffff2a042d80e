"""Deep CORAL: equal covariances of the domains' features."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from hf_transfer_kit.adaptation.objectives.objective import DomainBatch, Objective
from hf_transfer_kit.options import check_choice, check_number


def covariance_distance(source: Tensor, target: Tensor) -> Tensor:
    """|C_s - C_t|_F^2 / (4 D^2), C the covariance of the rows with the divisor N - 1 (Sun and Saenko 2016).

    Args:
        source: (S, D), two rows or more.
        target: (T, D), likewise.

    Returns:
        One element >= 0. Means do not count.
    """
    return (_covariance(source) - _covariance(target)).square().sum() / (4 * source.shape[1] ** 2)


def _covariance(rows: Tensor) -> Tensor:
    if rows.dtype in (torch.float16, torch.bfloat16):
        rows = rows.float()
    centred = rows - rows.mean(0)
    return centred.T @ centred / max(len(rows) - 1, 1)


class DeepCORAL(Objective):
    """Distance of the covariances of features, or of logits as in the paper (Sun and Saenko 2016).

    Args:
        width: D, number of features.
        num_labels: C, number of classes.
        on: ``"features"`` (the default) or ``"logits"``.
        weight: Of the term, >= 0; it is multiplied by lambda. The divisor 4 D^2 makes the term small: raise the weight
            until the logged ``coral_loss`` is about the size of the class loss, as the paper does.

    Raises:
        SettingsError: When an option is out of range.
    """

    name: ClassVar[str] = "coral"
    summary: ClassVar[str] = "equal covariances of the features"

    def __init__(self, *, width: int, num_labels: int, on: str = "features", weight: float = 1.0) -> None:
        super().__init__(width=width, num_labels=num_labels)
        self.on = check_choice(self.name, "on", on, ("features", "logits"))
        self.weight = check_number(self.name, "weight", weight, low=0)

    def compute_terms(self, batch: DomainBatch) -> dict[str, Tensor]:
        """``coral_loss``: distance of the covariances, times weight and lambda."""
        if self.on == "features":
            value = covariance_distance(batch.source_features, batch.target_features)
        else:
            value = covariance_distance(batch.source_logits, batch.target_logits)
        return {"coral_loss": self.weight * batch.strength * value}
