"""GradNorm: weights that let all tasks train at similar rates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from hf_transfer_kit.multitask.balancing.balancer import Balancer
from hf_transfer_kit.multitask.balancing.processes import averaged
from hf_transfer_kit.multitask.balancing.task_gradients import learning_tensors, tasks_gramian
from hf_transfer_kit.options import check_number

_SMALLEST = 1e-4


def gradnorm_step(
    weights: Tensor, norms: Tensor, losses: Tensor, first_losses: Tensor, *, alpha: float, learning_rate: float
) -> Tensor:
    """w - learning_rate * d/dw of sum_t |w_t n_t - m r_t^alpha| / m, made to keep its sum.

    m is the mean of w_t n_t, a constant like the target, and r_t = (L_t / L_t(0)) / mean over tasks of the same (Chen
    et al. 2018, equations 1 and 2). Dividing by m makes the step independent of the losses' common scale.

    Args:
        weights: w, (K,), positive.
        norms: n_t, of the unweighted losses' gradients, (K,).
        losses: L_t now, (K,).
        first_losses: L_t(0), (K,), positive.
        alpha: Pull towards equal rates, at least 0.
        learning_rate: Above 0.

    Returns:
        (K,), positive, of the same sum as ``weights``.
    """
    mean = (weights * norms).mean()
    rates = losses / first_losses
    target = mean * (rates / rates.mean()) ** alpha
    gradient = (weights * norms - target).sign() * norms / mean
    moved = (weights - learning_rate * gradient).clamp(min=_SMALLEST)
    return moved * weights.sum() / moved.sum()


class GradNorm(Balancer):
    """sum_t w_t L_t with w learnt from the lengths of the tasks' gradients (Chen et al. 2018, ICML).

    The gradients are those at the shared representation, found during ``forward`` by one more pass back through the
    heads. The weights hold for heads and trunk alike, sum to the number of tasks, and move by plain gradient descent
    after each step, not by the model's optimizer. Tasks that a batch lacks keep theirs.

    Args:
        tasks: Names of all tasks.
        alpha: How strongly slow tasks are pulled along, at least 0; the paper's 1.5 by default.
        learning_rate: Of the weights, above 0; the paper's 0.025 by default.

    Raises:
        SettingsError: When an option is out of range.
    """

    name: ClassVar[str] = "gradnorm"
    summary: ClassVar[str] = "weights learnt so that all tasks train at similar rates"

    task_weights: Tensor
    first_losses: Tensor

    def __init__(self, tasks: Sequence[str], *, alpha: float = 1.5, learning_rate: float = 0.025) -> None:
        super().__init__(tasks)
        self.alpha = check_number(self.name, "alpha", alpha, low=0)
        self.learning_rate = check_number(self.name, "learning_rate", learning_rate, low=0, above=True)
        self.register_buffer("task_weights", torch.ones(len(self.tasks)))
        self.register_buffer("first_losses", torch.full((len(self.tasks),), torch.nan))

    def combine(self, names: list[str], losses: list[Tensor], shared: Tensor | Sequence[Tensor] | None) -> Tensor:
        """sum_t w_t L_t; the weights then move."""
        present = self.positions(names)
        values = torch.stack(losses)  # (K,)
        weights = self.task_weights[present].to(values)
        self.keep(names, weights)
        tensors = learning_tensors(shared, self.name)
        if tensors:
            norms = tasks_gramian(losses, tensors).diagonal().sqrt()
            self._move(present, norms.to(self.task_weights), averaged(values).to(self.task_weights))
        return (weights * values).sum()

    def _move(self, present: list[int], norms: Tensor, losses: Tensor) -> None:
        first = self.first_losses[present]
        first = torch.where(first.isnan(), losses, first)
        self.first_losses[present] = first
        moved = gradnorm_step(
            self.task_weights[present],
            norms,
            losses,
            first,
            alpha=self.alpha,
            learning_rate=self.learning_rate,
        )
        # Losses of 0, or without gradient, say nothing about rates.
        if moved.isfinite().all():
            self.task_weights[present] = moved
