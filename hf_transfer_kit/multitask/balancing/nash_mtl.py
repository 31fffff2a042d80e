"""The Nash bargaining solution between tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torchjd.aggregation import NashMTL as Aggregator

from hf_transfer_kit.multitask.balancing.gradient_balancer import GradientBalancer, installed
from hf_transfer_kit.options import number, whole


def square_root(gramian: Tensor) -> Tensor:
    """M, (K, K), with M M^T = ``gramian``: a Jacobian of K columns that tells a solver all it asks of the real one."""
    values, vectors = torch.linalg.eigh(gramian)
    return vectors * values.clamp(min=0).sqrt()


class NashMTL(GradientBalancer):
    """w with G w = 1 / w, G the Gramian (Navon et al. 2022, ICML).

    The solver begins at the weights of the step before, which checkpoints keep; where it fails, these stay. Needs
    cvxpy and ecos: ``pip install "torchjd[nash_mtl]"``.

    Args:
        tasks: Names of all tasks.
        max_norm: Longest sum_t w_t g_t at the shared representation; 1 by default, 0 for any length.
        optim_niter: Iterations of the solver, at least 1; 20 by default.
        sum_rows: See ``GradientBalancer``.

    Raises:
        SettingsError: When an option is out of range, or packages are missing.
    """

    name: ClassVar[str] = "nash_mtl"
    summary: ClassVar[str] = "the tasks' bargaining solution"
    scale_free = False

    def __init__(
        self, tasks: Sequence[str], *, max_norm: float = 1.0, optim_niter: int = 20, sum_rows: bool = False
    ) -> None:
        super().__init__(tasks, sum_rows=sum_rows)
        self.max_norm = number(self.name, "max_norm", max_norm, low=0)
        self.optim_niter = whole(self.name, "optim_niter", optim_niter, low=1)
        # A solver for each number of tasks that batches have; no submodules, they hold no tensors.
        self._solvers = {len(self.tasks): self._solver(len(self.tasks))}
        self.register_buffer("previous", torch.ones(len(self.tasks), dtype=torch.float64))

    def gradient_weights(self, gramian: Tensor, present: list[int]) -> Tensor:
        """torchjd's, from the weights of the step before on; its solver wants two tasks, one alone gets weight 1."""
        if len(present) == 1:
            return torch.ones(1)
        if len(present) not in self._solvers:
            self._solvers[len(present)] = self._solver(len(present))
        solver = self._solvers[len(present)].weighting
        solver.prvs_alpha = self.previous[present].cpu().numpy()
        weights = solver(square_root(gramian))
        self.previous[present] = torch.as_tensor(solver.prvs_alpha).to(self.previous)
        return weights

    def _solver(self, size: int) -> Aggregator:
        return installed(self.name, Aggregator, size, max_norm=self.max_norm, optim_niter=self.optim_niter)
