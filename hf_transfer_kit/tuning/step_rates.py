"""Factors on learning rates that hold for one optimizer step and leave no trace in groups, schedulers or checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from hf_transfer_kit.errors import SettingsError

Factors = Mapping[int, float]
"""id of a parameter -> factor on its learning rate; 1 where it is missing."""


class StepRates:
    """Multiplies the learning rate of single parameters inside ``optimizer.step``, exactly, whatever the scheduler.

    Before the step the optimizer's groups are replaced by copies, one for each factor, with their rate multiplied;
    after it the groups themselves are back. State is kept for each parameter, so it does not notice.

    Args:
        optimizer: The torch optimizer (not accelerate's wrapper).
        factors: Called before each step.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, factors: Callable[[], Factors]) -> None:
        self.factors = factors
        self._groups: list[dict[str, Any]] | None = None
        self._copies: list[dict[str, Any]] = []
        self._handles = [
            optimizer.register_step_pre_hook(self._before),
            optimizer.register_step_post_hook(self._after),
        ]

    def remove(self) -> None:
        """Takes the hooks off."""
        for handle in self._handles:
            handle.remove()

    def _before(self, optimizer, args, kwargs) -> None:
        factors = self.factors()
        if not factors:
            return
        self._groups = optimizer.param_groups
        self._copies = [copy for group in self._groups for copy in split_by_factor(group, factors)]
        optimizer.param_groups = list(self._copies)

    def _after(self, optimizer, args, kwargs) -> None:
        if self._groups is None:
            return
        originals, self._groups = self._groups, None
        optimizer.param_groups = originals
        settings = [{k: v for k, v in group.items() if k not in ("params", "lr")} for group in originals]
        for copy in self._copies:
            if {k: v for k, v in copy.items() if k not in ("params", "lr")} not in settings:
                raise SettingsError(
                    f"{type(optimizer).__name__} keeps a state in its parameter groups, which rates by stage would "
                    "lose: choose an optimizer such as adamw_torch or sgd, or leave out the rates."
                )


def split_by_factor(group: dict[str, Any], factors: Factors) -> list[dict[str, Any]]:
    """Copies of an optimizer's parameter group, one for each factor, with ``lr`` multiplied by it."""
    by_factor: dict[float, list[torch.Tensor]] = {}
    for parameter in group["params"]:
        by_factor.setdefault(factors.get(id(parameter), 1.0), []).append(parameter)
    return [{**group, "params": own, "lr": group["lr"] * factor} for factor, own in by_factor.items()]
