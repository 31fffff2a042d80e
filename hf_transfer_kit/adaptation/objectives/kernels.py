"""Gaussian kernels between rows, and the distance of two samples that they measure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor


def squared_distances(rows: Tensor) -> Tensor:
    """|x_i - x_j|^2 of all pairs.

    Args:
        rows: (N, D); half precision is computed in float32.

    Returns:
        (N, N), not negative, zero on the diagonal.
    """
    if rows.dtype in (torch.float16, torch.bfloat16):
        rows = rows.float()
    # Distances do not change with the origin, rounding does: far from it, small ones would drown.
    rows = rows - rows.detach().mean(0)
    norms = rows.square().sum(1)
    distances = (norms[:, None] + norms[None, :] - 2 * rows @ rows.T).clamp_min(0)
    return distances * (1 - torch.eye(len(rows), dtype=rows.dtype, device=rows.device))


def gaussian_kernels(distances: Tensor, factors: Sequence[float]) -> Tensor:
    """Mean over u of exp(-d_ij / (u * median)), the median over pairs of different rows (Gretton et al. 2012).

    The median carries no gradient.

    Args:
        distances: d, squared, (N, N).
        factors: u, of the bandwidths.

    Returns:
        (N, N), in [0, 1], ones on the diagonal.
    """
    off_diagonal = ~torch.eye(len(distances), dtype=torch.bool, device=distances.device)
    bandwidth = distances.detach()[off_diagonal].median().clamp_min(1e-12)
    total = cast(Tensor, sum(torch.exp(-distances / (factor * bandwidth)) for factor in factors))
    return total / len(factors)


def kernel_discrepancy(kernel: Tensor, sources: int) -> Tensor:
    """Squared maximum mean discrepancy: mean k(s, s') + mean k(t, t') - 2 mean k(s, t), over all pairs.

    Args:
        kernel: k, of the source rows followed by the target rows, (S + T, S + T).
        sources: S, number of source rows.

    Returns:
        One element >= 0 (up to rounding).
    """
    within = kernel[:sources, :sources].mean() + kernel[sources:, sources:].mean()
    return within - 2 * kernel[:sources, sources:].mean()
