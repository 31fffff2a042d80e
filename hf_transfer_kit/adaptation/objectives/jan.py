"""Joint adaptation network: features and class probabilities matched together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from hf_transfer_kit.adaptation.objectives.kernels import gaussian_kernels, kernel_discrepancy, squared_distances
from hf_transfer_kit.adaptation.objectives.mmd import FACTORS
from hf_transfer_kit.adaptation.objectives.objective import DomainBatch, Objective
from hf_transfer_kit.options import check_number, check_numbers


def joint_discrepancy(
    source: tuple[Tensor, Tensor],
    target: tuple[Tensor, Tensor],
    factors: Sequence[float] = FACTORS,
    class_bandwidth: float = 1.68,
) -> Tensor:
    """Squared MMD under the product of a kernel on features and one on class probabilities (Long et al. 2017, JMMD).

    k = mean_u exp(-|f - f'|^2 / (u * median)) * exp(-|g - g'|^2 / class_bandwidth).

    Args:
        source: Features (S, D) and probabilities (S, C).
        target: Features (T, D) and probabilities (T, C).
        factors: Of the bandwidths of the features, in units of the median squared distance.
        class_bandwidth: Of the probabilities, above 0; the authors' code takes 1.68.

    Returns:
        One element >= 0 (up to rounding).
    """
    features, classes = (squared_distances(torch.cat(pair)) for pair in zip(source, target, strict=True))
    kernel = gaussian_kernels(features, factors) * torch.exp(-classes / class_bandwidth)
    return kernel_discrepancy(kernel, len(source[0]))


class JAN(Objective):
    """Joint maximum mean discrepancy of features and predictions (JAN, Long et al. 2017).

    Args:
        width: D, number of features.
        num_labels: C, number of classes.
        weight: Of the term, >= 0; it is multiplied by lambda.
        factors: Bandwidths of the features in units of the median squared distance, each above 0.
        class_bandwidth: Of the probabilities, above 0.

    Raises:
        SettingsError: When an option is out of range.
    """

    name: ClassVar[str] = "jan"
    summary: ClassVar[str] = "equal kernel means of features and predictions together"

    def __init__(
        self,
        *,
        width: int,
        num_labels: int,
        weight: float = 1.0,
        factors: Sequence[float] = FACTORS,
        class_bandwidth: float = 1.68,
    ) -> None:
        super().__init__(width=width, num_labels=num_labels)
        self.weight = check_number(self.name, "weight", weight, low=0)
        self.factors = check_numbers(self.name, "factors", factors)
        self.class_bandwidth = check_number(self.name, "class_bandwidth", class_bandwidth, low=0, above=True)

    def compute_terms(self, batch: DomainBatch) -> dict[str, Tensor]:
        """``jmmd_loss``: squared joint discrepancy, times weight and lambda."""
        value = joint_discrepancy(
            (batch.source_features, batch.source_logits.softmax(-1)),
            (batch.target_features, batch.target_logits.softmax(-1)),
            self.factors,
            self.class_bandwidth,
        )
        return {"jmmd_loss": self.weight * batch.strength * value}
