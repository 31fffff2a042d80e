"""Projection onto the dual cone of the tasks' gradients, without a package for quadratic programs."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor
from torchjd.linalg import DualConeProjector

_RIDGE = 1e-4


class NonNegativeLeastSquares(DualConeProjector):
    """min_v v^T G v subject to v >= u, as torchjd's own projector solves it, by scipy's nnls.

    With v = u + x and G = L L^T it is min_{x >= 0} |L^T x + L^T u|. As there, G is divided by its trace, and 1e-4 is
    added to its diagonal.
    """

    def __call__(self, U: Tensor, G: Tensor) -> Tensor:
        """The solution for each vector u in ``U``, (..., K), with ``G`` (K, K)."""
        ridge = _RIDGE * torch.eye(len(G), dtype=torch.float64)
        normalized = G.double().cpu() / G.diagonal().sum().double().cpu() + ridge
        factor = torch.linalg.cholesky(normalized).T.numpy()  # L^T
        vectors = U.double().cpu().numpy()
        solutions = np.apply_along_axis(lambda u: u + nnls(factor, -factor @ u)[0], -1, vectors)
        return torch.from_numpy(solutions).to(G)
