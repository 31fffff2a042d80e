"""Factors on learning rates for one optimizer step, which leave no trace in groups, schedulers or checkpoints."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch

from hf_transfer_kit.errors import SettingsError

Factors = Mapping[int, float]
"""id of a parameter -> factor on its learning rate; 1 where it is missing."""

Group = dict[str, Any]
"""A parameter group of a torch optimizer."""

_ATTRIBUTE = "_step_rates"


class StepRates:
    """Multiplies the learning rate of single parameters inside ``optimizer.step``, exactly, whatever the scheduler.

    Before the step the optimizer's groups are replaced by copies, one for each factor, with their rate multiplied;
    after it the groups themselves are back. State is kept for each parameter, so it does not notice.

    Args:
        optimizer: The torch optimizer (not accelerate's wrapper).
        factors: Called before each step.

    Raises:
        SettingsError: When the optimizer keeps a state in its groups, which the copies would lose.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, factors: Callable[[], Factors]) -> None:
        _check_states(optimizer, _tried(optimizer))
        self.factors = factors
        self._groups: list[Group] | None = None
        self._copies: list[list[Group]] = []
        setattr(optimizer, _ATTRIBUTE, self)
        self._optimizer = optimizer
        self._handles = [
            optimizer.register_step_pre_hook(self._before),
            optimizer.register_step_post_hook(self._after),
        ]

    def remove(self) -> None:
        """Takes the hooks off."""
        for handle in self._handles:
            handle.remove()
        if vars(self._optimizer).get(_ATTRIBUTE) is self:
            delattr(self._optimizer, _ATTRIBUTE)

    def _before(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        # Still set: the last step raised an error, or a subclass's step is calling its parent's, hooked as well.
        self._restore(optimizer)
        factors = self.factors()
        if not factors:
            return
        self._groups = optimizer.param_groups
        self._copies = [split_by_factor(group, factors) for group in self._groups]
        optimizer.param_groups = [copy for copies in self._copies for copy in copies]

    def _after(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        self._restore(optimizer)

    def _restore(self, optimizer: torch.optim.Optimizer) -> None:
        """Puts the groups themselves back, if copies stand in for them."""
        if self._groups is None:
            return
        groups, self._groups = self._groups, None
        optimizer.param_groups = groups
        changed = {key for group, copies in zip(groups, self._copies, strict=True) for key in _changed(group, copies)}
        _check_states(optimizer, changed)


def factors_of(optimizer: torch.optim.Optimizer) -> Factors:
    """The factors that an optimizer's next step will see; none without a ``StepRates``."""
    rates = vars(optimizer).get(_ATTRIBUTE)
    return {} if rates is None else rates.factors()


def split_by_factor(group: Group, factors: Factors) -> list[Group]:
    """Copies of an optimizer's parameter group, one for each factor, with ``lr`` multiplied by it."""
    by_factor: dict[float, list[torch.Tensor]] = {}
    for parameter in group["params"]:
        by_factor.setdefault(factors.get(id(parameter), 1.0), []).append(parameter)
    return [{**group, "params": own, "lr": group["lr"] * factor} for factor, own in by_factor.items()]


def _changed(group: Group, copies: list[Group]) -> list[str]:
    """Settings, but for ``params`` and ``lr``, that a step has changed or added in copies of ``group``."""
    return [
        key
        for copy in copies
        for key, value in copy.items()
        if key not in ("params", "lr") and (key not in group or (value is not group[key] and value != group[key]))
    ]


def _check_states(optimizer: torch.optim.Optimizer, changed: Collection[str]) -> None:
    if changed:
        raise SettingsError(
            f"{type(optimizer).__name__} keeps a state in its parameter groups ({', '.join(sorted(changed))}), "
            "which rates by stage would lose: choose an optimizer such as adamw_torch or sgd, or leave out the "
            "rates."
        )


def _tried(optimizer: torch.optim.Optimizer) -> list[str]:
    """What a step changes in the groups of an optimizer of this kind, tried on a weight of its own.

    Nothing where none can be made like that: a step that changes something is noticed all the same.
    """
    weight = torch.nn.Parameter(torch.zeros(2, 2))
    weight.grad = torch.zeros_like(weight)
    known = inspect.signature(type(optimizer)).parameters
    try:
        like: Any = type(optimizer)([weight], **{key: v for key, v in optimizer.defaults.items() if key in known})
        if callable(getattr(like, "train", None)):  # schedule-free ones
            like.train()
        before = dict(like.param_groups[0])
        like.step()
    except Exception:
        return []
    return _changed(before, like.param_groups)
