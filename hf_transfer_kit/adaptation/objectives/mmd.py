"""Deep adaptation network: equal means of the domains in a kernel's space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from hf_transfer_kit.adaptation.objectives.kernels import gaussian_kernels, kernel_discrepancy, squared_distances
from hf_transfer_kit.adaptation.objectives.objective import DomainBatch, Objective
from hf_transfer_kit.options import check_number, check_numbers

FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Bandwidths, in units of the median squared distance."""


def maximum_mean_discrepancy(source: Tensor, target: Tensor, factors: Sequence[float] = FACTORS) -> Tensor:
    """Squared MMD of two samples under a mean of Gaussian kernels (Long et al. 2015; Gretton et al. 2012).

    All pairs count, a row with itself as well: never negative, and the gradient is that of the unbiased estimate up to
    a factor close to 1.

    Args:
        source: (S, D).
        target: (T, D).
        factors: Of the bandwidths, in units of the median squared distance.

    Returns:
        One element >= 0 (up to rounding).
    """
    kernel = gaussian_kernels(squared_distances(torch.cat([source, target])), factors)
    return kernel_discrepancy(kernel, len(source))


class MMD(Objective):
    """Maximum mean discrepancy of the features (DAN, Long et al. 2015).

    Args:
        width: D, number of features.
        num_labels: C, number of classes.
        weight: Of the term, >= 0; it is multiplied by lambda.
        factors: Bandwidths in units of the median squared distance, each above 0.

    Raises:
        SettingsError: When an option is out of range.
    """

    name: ClassVar[str] = "mmd"
    summary: ClassVar[str] = "equal kernel means of the features (DAN)"

    def __init__(self, *, width: int, num_labels: int, weight: float = 1.0, factors: Sequence[float] = FACTORS) -> None:
        super().__init__(width=width, num_labels=num_labels)
        self.weight = check_number(self.name, "weight", weight, low=0)
        self.factors = check_numbers(self.name, "factors", factors)

    def compute_terms(self, batch: DomainBatch) -> dict[str, Tensor]:
        """``mmd_loss``: squared discrepancy of the features, times weight and lambda."""
        value = maximum_mean_discrepancy(batch.source_features, batch.target_features, self.factors)
        return {"mmd_loss": self.weight * batch.strength * value}
