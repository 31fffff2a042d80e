"""What balancers of gradients share: weights from the Gramian of the tasks' gradients at the shared representation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, TypeVar

import torch
from torch import Tensor

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.multitask.balancing.balanced_backward import balanced_loss
from hf_transfer_kit.multitask.balancing.balancer import Balancer
from hf_transfer_kit.multitask.balancing.task_gradients import learning_tensors


class GradientBalancer(Balancer):
    """Gives the trunk sum_t w_t g_t, with w from the T x T Gramian of the g_t at the shared representation.

    g_t is the gradient of task t's loss at the shared representation: zero on rows of other tasks. By the chain rule
    the trunk's parameters get sum_t w_t J_t, J_t being the gradient of loss t at them. Each head gets its own task's
    gradient with weight 1, whatever w is, and so does everything that is not reached through the shared
    representation. The loss's value is the plain sum.

    Conflict is seen where tasks label the same rows. Between tasks without common rows the g_t are orthogonal: then
    methods that look for conflict give equal weights, and only lengths count for the others. With ``sum_rows`` w
    follows from the gradients summed over rows instead, those at a bias added to the representation, which also tasks
    on different rows share; it weighs the same g_t.

    - Accumulation: every ``backward`` balances its own batch; what accumulates is the mean of balanced gradients, not
      the balanced mean.
    - Several processes: the Gramian is that of all their rows.
    - Mixed precision: the Gramian is that of the unscaled losses; where it is not finite, weights are 1, so that the
      gradient scaler meets what is not finite and skips the step.
    - A task whose gradient is zero takes no part and gets weight 0.
    - A frozen trunk: the loss is the plain sum.

    A subclass implements ``gradient_weights``.

    Args:
        tasks: Names of all tasks.
        sum_rows: Whether weights follow from gradients summed over rows; False by default.

    Example:
        >>> class Equal(GradientBalancer):
        ...     name, summary = "equal", "every gradient counts alike"
        ...     def gradient_weights(self, gramian, tasks):
        ...         return torch.ones(len(gramian), dtype=gramian.dtype)
        >>> shared = torch.ones(2, 3, requires_grad=True)
        >>> balancer = Equal(["digit", "ink"])
        >>> balancer({"digit": shared.sum(), "ink": shared.square().sum()}, shared).backward()
        >>> balancer.weights()
        {'digit': 1.0, 'ink': 1.0}
    """

    scale_free = True
    """Whether weights do not change when all gradients are multiplied by one number: the Gramian is then divided by its
    mean diagonal, since at a shared representation, where gradients are small, fixed thresholds of solvers bite."""

    def __init__(self, tasks: Sequence[str], *, sum_rows: bool = False) -> None:
        super().__init__(tasks)
        self.sum_rows = sum_rows

    def combine(self, names: list[str], losses: list[Tensor], shared: Tensor | Sequence[Tensor] | None) -> Tensor:
        """sum_t L_t, whose backward is balanced."""
        tensors = learning_tensors(shared, self.name)
        if not tensors:
            self.keep(names, torch.ones(len(names)))
            return torch.stack(losses).sum()
        return balanced_loss(losses, tensors, lambda gramian: self._weigh(names, gramian), sum_rows=self.sum_rows)

    def gradient_weights(self, gramian: Tensor, present: list[int]) -> Tensor:
        """Weights of the tasks in ``present``.

        Args:
            gramian: (K, K), float64 on the CPU, finite, of positive diagonal.
            present: Positions of the K tasks among all.

        Returns:
            (K,).
        """
        raise NotImplementedError

    def _weigh(self, names: list[str], gramian: Tensor) -> Tensor:
        if not gramian.isfinite().all():
            weights = torch.ones(len(names), dtype=gramian.dtype)
        else:
            weights = torch.zeros(len(names), dtype=gramian.dtype)
            moving = (gramian.diagonal() > 0).nonzero().flatten()
            if len(moving):
                part = gramian[moving][:, moving]
                part = part / part.diagonal().mean() if self.scale_free else part
                present = self.positions([names[index] for index in moving])
                weights[moving] = self.gradient_weights(part, present).to(weights)
        self.keep(names, weights)
        return weights


M = TypeVar("M")


def of_torchjd(method: str, name: str) -> Any:
    """A class of torchjd, which balancers of gradients alone need.

    Raises:
        SettingsError: When it is not installed.
    """
    try:
        return getattr(import_module("torchjd.aggregation"), name)
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"{method} needs torchjd: pip install 'hf_transfer_kit[balancing]', or choose a balancer of losses such as "
            "uncertainty."
        ) from error


def installed(method: str, make: Callable[..., M], *arguments: Any, **options: Any) -> M:
    """``make(*arguments, **options)``, whose missing optional packages are named in a sentence.

    Raises:
        SettingsError: When a package is missing.
    """
    try:
        return make(*arguments, **options)
    except ImportError as error:
        raise SettingsError(f"{method} lacks packages: {error}, or choose another balancer.") from error
