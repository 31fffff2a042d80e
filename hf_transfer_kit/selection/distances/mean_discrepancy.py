"""Maximum mean discrepancy: how far the domains' means are apart in a kernel's space."""

from __future__ import annotations

import numpy as np
import torch

from hf_transfer_kit.adaptation.objectives.kernels import gaussian_kernels, squared_distances
from hf_transfer_kit.adaptation.objectives.mmd import FACTORS


def mean_discrepancy(rows: np.ndarray, deals: np.ndarray, *, biased: bool = False) -> np.ndarray:
    """Squared MMD under a mean of Gaussian kernels (Gretton et al. 2012; Long et al. 2015), for many deals at once.

    Unbiased: mean k(s, s') over different rows + mean k(t, t') over different rows - 2 mean k(s, t); 0 on average for
    equal distributions, so below 0 at times. Biased: all pairs, a row with itself as well; never negative, and what
    training with ``mmd`` minimises. The bandwidths are multiples of the median squared distance of all rows, so that
    the value depends neither on the scale of the features nor on the deal.

    Args:
        rows: Of both domains, (N, D), float64.
        deals: Whether a row is of the source, (P, N), bool; all with as many source rows, two or more of each domain.
        biased: Which of the two.

    Returns:
        (P,).
    """
    kernel = _kernel(rows)
    source = deals.astype(np.float64)
    target = 1 - source
    within = source @ kernel
    sums_source, sums_cross = (within * source).sum(1), (within * target).sum(1)
    sums_target = kernel.sum() - sums_source - 2 * sums_cross
    sources = source[0].sum()
    targets = len(rows) - sources
    if biased:
        # Rounding alone takes it below 0.
        found = sums_source / sources**2 + sums_target / targets**2 - 2 * sums_cross / (sources * targets)
        return np.maximum(found, 0.0)
    # The diagonal is all ones.
    own = (sums_source - sources) / (sources * (sources - 1)) + (sums_target - targets) / (targets * (targets - 1))
    return own - 2 * sums_cross / (sources * targets)


def _kernel(rows: np.ndarray) -> np.ndarray:
    """(N, N). The smallest bandwidth that ``gaussian_kernels`` allows is absolute, so rows come to size 1 first."""
    rows = rows - rows.mean(0)
    size = np.abs(rows).max()
    rows = torch.from_numpy(rows / size if size > 0 else rows)
    return gaussian_kernels(squared_distances(rows), FACTORS).numpy()
