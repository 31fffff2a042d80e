"""Which tasks pull the shared layers the same way: cosines between their gradients, averaged over training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.multitask.balancing.balancer import Balancer
from hf_transfer_kit.multitask.balancing.task_gradients import learning_tensors, tasks_gramian
from hf_transfer_kit.options import check_int


def cosines(gramian: Tensor) -> Tensor:
    """G_ij / sqrt(G_ii G_jj), in [-1, 1]; NaN where a gradient is zero.

    Args:
        gramian: (K, K).

    Returns:
        (K, K).
    """
    lengths = gramian.diagonal().sqrt()
    return (gramian / torch.outer(lengths, lengths)).clamp(-1, 1)


class TaskAffinity(nn.Module):
    """A balancer that also keeps the running mean of cosines between the tasks' gradients (Yu et al. 2020, section 2).

    Put it where the balancer was: it hands everything on to that one. In each ``every``-th step of training it finds
    the gradients at the shared representation, by one more pass back through the heads; the trunk does not run again.
    A pair counts when both tasks are in the batch with gradients that are not zero. Of several processes it sees all
    rows.

    Args:
        balancer: Whose tasks these are; ``Fixed(tasks)`` for the plain sum.
        every: Steps of training between two looks, at least 1; 10 by default.
        sum_rows: Whether gradients are summed over rows first: those at a bias added to the representation, (D,) a
            task. Tasks that label different rows need it: their gradients are zero on each other's rows, and the
            cosine, taken row by row, is 0 whatever they want. False by default.

    Attributes:
        balancer: As given.

    Raises:
        SettingsError: When ``every`` is out of range, or ``balancer`` is none.

    Example:
        >>> losses = {"digit": torch.tensor(3.0, requires_grad=True), "ink": torch.tensor(1.0)}
        >>> affinity = TaskAffinity(BALANCERS["fixed"](["digit", "ink"]), every=1)
        >>> affinity.matrix().shape
        torch.Size([2, 2])
    """

    sums: Tensor
    counts: Tensor
    steps: Tensor

    def __init__(self, balancer: Balancer, *, every: int = 10, sum_rows: bool = False) -> None:
        super().__init__()
        if not isinstance(balancer, Balancer):
            raise SettingsError(
                f"TaskAffinity: {type(balancer).__name__} is no balancer; give one of BALANCERS, such as 'fixed'."
            )
        self.balancer = balancer
        self.every = check_int("TaskAffinity", "every", every, low=1)
        self.sum_rows = sum_rows
        size = len(balancer.tasks)
        self.register_buffer("sums", torch.zeros(size, size, dtype=torch.float64))
        self.register_buffer("counts", torch.zeros(size, size, dtype=torch.int64))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks, in the order of the matrix."""
        return self.balancer.tasks

    def forward(self, losses: Mapping[str, Tensor], shared: Tensor | Sequence[Tensor] | None = None) -> Tensor:
        """The balancer's loss; arguments as there."""
        if self.training and torch.is_grad_enabled():
            if self.steps % self.every == 0:
                self._look(losses, learning_tensors(shared, "TaskAffinity"))
            self.steps += 1
        return self.balancer(losses, shared)

    def weights(self) -> dict[str, float]:
        """The balancer's."""
        return self.balancer.weights()

    def matrix(self) -> Tensor:
        """Mean cosines, (T, T), float64 on the CPU, in the order of ``tasks``; NaN for a pair that never met."""
        return (self.sums / self.counts).cpu()

    def _look(self, losses: Mapping[str, Tensor], shared: Sequence[Tensor]) -> None:
        names = [name for name in self.tasks if name in losses]
        if not shared or not names:
            return
        gramian = tasks_gramian([losses[name] for name in names], shared, sum_rows=self.sum_rows)
        found = cosines(gramian).to(self.sums)
        present = self.balancer.positions(names)
        pairs = torch.meshgrid(*[torch.tensor(present, device=self.sums.device)] * 2, indexing="ij")
        self.sums[pairs] += found.nan_to_num()
        self.counts[pairs] += found.isfinite()
