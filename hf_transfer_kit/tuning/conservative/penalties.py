"""Penalties on the distance d = w - w0 of weights from where they started: values, gradients, decoupled steps.

Every function takes lists of tensors and never builds a graph. A norm answers three questions about a list of deltas:
its ``value``, its ``gradients``, and the ``decoupled`` step that moves the weights by itself, as AdamW's decay does, as
tensors and a factor whose product is to be added to the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

Tensors = Sequence[Tensor]


class Norm(Protocol):
    """A norm of deltas; importances, one for each element, are read by the squared norm alone."""

    def value(self, deltas: Tensors, importances: Tensors | None = None) -> Tensor:
        """The penalty of strength 1."""

    def gradients(self, deltas: Tensors, importances: Tensors | None = None) -> Tensors:
        """Gradient of the value in each delta."""

    def decoupled(self, deltas: Tensors, amount: float, importances: Tensors | None = None) -> tuple[Tensors, float]:
        """The step of strength ``amount``: tensors, and the factor they are added with."""


class SquaredNorm:
    """sum d^2 / 2: L2-SP (Li et al. 2018); with importances F, sum F d^2 / 2 (Kirkpatrick et al. 2017)."""

    def value(self, deltas: Tensors, importances: Tensors | None = None) -> Tensor:
        """The penalty of strength 1, in the deltas' precision or float32 where that is higher."""
        if importances is None:
            return _total([norm * norm for norm in _norms(deltas)]) / 2
        return _total([(f * d.to(_wide(d)).square()).sum() for f, d in zip(importances, deltas, strict=True)]) / 2

    def gradients(self, deltas: Tensors, importances: Tensors | None = None) -> Tensors:
        """Gradient of the value in each delta: d, or F d."""
        return deltas if importances is None else torch._foreach_mul([*deltas], [*importances])

    def decoupled(self, deltas: Tensors, amount: float, importances: Tensors | None = None) -> tuple[Tensors, float]:
        """The step -amount d, or -amount F d."""
        return self.gradients(deltas, importances), -amount


class AbsoluteNorm:
    """sum |d|: L1-SP (Li et al. 2018). The decoupled step brings weights exactly back to where they started."""

    def value(self, deltas: Tensors, importances: Tensors | None = None) -> Tensor:
        """The penalty of strength 1."""
        return _total(_norms(deltas, 1))

    def gradients(self, deltas: Tensors, importances: Tensors | None = None) -> Tensors:
        """sign(d), which is 0 where d is."""
        return torch._foreach_sign([*deltas])

    def decoupled(self, deltas: Tensors, amount: float, importances: Tensors | None = None) -> tuple[Tensors, float]:
        """The step after which d is sign(d) max(|d| - amount, 0)."""
        return [d.clamp(-amount, amount) for d in deltas], -1.0


class GroupNorm:
    """sum over groups of sqrt(p) |d_g|_2 with p scalars in a group: GL-SP, group lasso (Li et al. 2018).

    A group is what leads to one output: a slice of a matrix or a kernel along its first axis, one scalar of a vector.
    """

    def value(self, deltas: Tensors, importances: Tensors | None = None) -> Tensor:
        """The penalty of strength 1."""
        return _total([_group_norms(d).to(_wide(d)).sum() * _group_size(d) ** 0.5 for d in deltas])

    def gradients(self, deltas: Tensors, importances: Tensors | None = None) -> Tensors:
        """sqrt(p) d_g / |d_g|, and 0 where d_g is."""
        return [d * (_group_size(d) ** 0.5 / _group_norms(d)).nan_to_num_(posinf=0.0) for d in deltas]

    def decoupled(self, deltas: Tensors, amount: float, importances: Tensors | None = None) -> tuple[Tensors, float]:
        """The step after which d_g is d_g max(1 - amount sqrt(p) / |d_g|, 0)."""
        steps = [
            d * (amount * _group_size(d) ** 0.5 / _group_norms(d)).nan_to_num_(posinf=1.0).clamp_(max=1.0)
            for d in deltas
        ]
        return steps, -1.0


NORMS: dict[str, Norm] = {"l2": SquaredNorm(), "l1": AbsoluteNorm(), "group": GroupNorm()}
"""Norms by the names that ``L2SP(norm=...)`` takes."""


def deltas(weights: Tensors, anchors: Tensors | None) -> Tensors:
    """w - w0 for each weight; the weights themselves where there is no w0."""
    return weights if anchors is None else torch._foreach_sub([*weights], [*anchors])


def squared_distance(differences: Tensors) -> Tensor:
    """sum of d^2 over all tensors, a scalar in float32 or float64."""
    return _total([norm * norm for norm in _norms(differences)])


def _norms(tensors: Tensors, order: int = 2) -> list[Tensor]:
    if not tensors:
        return []
    return list(torch._foreach_norm([*tensors], order, dtype=_wide(tensors[0])))


def _wide(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)


def _total(parts: list[Tensor]) -> Tensor:
    return torch.stack(parts).sum() if parts else torch.zeros(())


def _group_norms(delta: Tensor) -> Tensor:
    """Norm of each group, of a shape that broadcasts against ``delta``."""
    if delta.ndim < 2:
        return delta.abs()
    return torch.linalg.vector_norm(delta, dim=tuple(range(1, delta.ndim)), keepdim=True)


def _group_size(delta: Tensor) -> int:
    return delta[0].numel() if delta.ndim > 1 and len(delta) else 1
