"""What a way of balancing tasks is: their losses in, one loss to call ``backward`` on out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from hf_transfer_kit.errors import SettingsError


class Balancer(nn.Module):
    """Makes one loss of several; the module beside a model that does so in training.

    A subclass sets ``name`` and ``summary``, takes keyword-only options with defaults, and implements ``combine``.
    State is kept in buffers, so that a resumed run goes on as it would have. Every process chooses the same weights:
    they follow from what all processes see together. In evaluation, or without gradients, the loss is the plain sum
    and no state changes.

    Args:
        tasks: Names of all tasks, in a fixed order. A batch may lack some.

    Raises:
        SettingsError: When there is none, or a name stands twice.

    Example:
        >>> class Even(Balancer):
        ...     name, summary = "even", "the mean of the losses"
        ...     def combine(self, names, losses, shared):
        ...         return torch.stack(losses).mean()
        >>> losses = {"digit": torch.tensor(3.0, requires_grad=True), "ink": torch.tensor(1.0)}
        >>> float(Even(["digit", "ink"])(losses))
        2.0
    """

    name: ClassVar[str]
    summary: ClassVar[str]

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        if isinstance(tasks, str) or not tasks:
            raise SettingsError(f"{self.name}: tasks={tasks!r} names none; give a list such as ['digit', 'parity'].")
        if len(set(tasks)) < len(tasks):
            raise SettingsError(f"{self.name}: tasks={list(tasks)!r} names a task twice; give each name once.")
        self.tasks = tuple(tasks)
        self._last: tuple[list[str], Tensor] | None = None

    def forward(self, losses: Mapping[str, Tensor], shared: Tensor | Sequence[Tensor] | None = None) -> Tensor:
        """The loss to call ``backward`` on.

        Args:
            losses: Task -> 0-dim mean over its rows, of the tasks in the batch; the same names in every process.
            shared: The shared representation, any shape, from which each task's head computes its loss; or several that
                do not depend on each other. Only balancers of gradients look at it.

        Returns:
            0-dim.

        Raises:
            SettingsError: When a task is unknown, there is none, or a loss has more than one element.
        """
        names = self._checked(losses)
        values = [losses[name].reshape(()) for name in names]
        if not (self.training and torch.is_grad_enabled()):
            return torch.stack(values).sum()
        return self.combine(names, values, shared)

    def combine(self, names: list[str], losses: list[Tensor], shared: Tensor | Sequence[Tensor] | None) -> Tensor:
        """One loss of the 0-dim ones of the K tasks ``names``; calls ``keep`` with their weights."""
        raise NotImplementedError

    def weights(self) -> dict[str, float]:
        """Task -> weight, of the last batch in training; empty before the first.

        Balancers of gradients know theirs after ``backward``: during ``forward`` these are the step's before.
        """
        if self._last is None:
            return {}
        names, weights = self._last
        return dict(zip(names, weights.tolist(), strict=True))

    def end_epoch(self) -> None:
        """Called once after each epoch (by ``BalancingEpochs``); for balancers that compare epochs."""

    def keep(self, names: list[str], weights: Tensor) -> None:
        """Remembers (K,) weights for ``weights``."""
        self._last = (names, weights.detach())

    def positions(self, names: Sequence[str]) -> list[int]:
        """Where these tasks stand among all."""
        return [self.tasks.index(name) for name in names]

    def _checked(self, losses: Mapping[str, Tensor]) -> list[str]:
        unknown = [name for name in losses if name not in self.tasks]
        if unknown or not losses:
            found = f"there are losses of {', '.join(map(repr, unknown))}" if unknown else "there are no losses"
            raise SettingsError(f"{self.name}: {found}; its tasks are {', '.join(map(repr, self.tasks))}.")
        for name, loss in losses.items():
            if loss.numel() != 1:
                raise SettingsError(
                    f"{self.name}: the loss of {name!r} has shape {tuple(loss.shape)}; give one element, such as its "
                    "mean over rows."
                )
        return [name for name in self.tasks if name in losses]
