"""Forward nothing changes; backward the gradient turns round."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable


class _Reversal(Function):
    """``setup_context`` apart from ``forward`` is what torch.compile and torch.func trace without a break."""

    @staticmethod
    def forward(features: Tensor, strength: Tensor) -> Tensor:
        # A view: returning the input itself would make autograd treat it as changed in place.
        return features.view_as(features)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (strength,) = ctx.saved_tensors
        # In the gradient's own type: a float32 strength must not lift a half-precision gradient.
        return gradient * -strength.to(gradient.dtype), None


def reverse_gradient(features: Tensor, strength: Tensor) -> Tensor:
    """The identity, whose gradient is multiplied by minus ``strength``.

    What follows it learns to tell domains apart; what precedes it learns to make that impossible (Ganin and
    Lempitsky, 2015, section 3.1). Differentiable once.

    Args:
        features: Any shape.
        strength: Lambda, 0-dim, at least 0. A tensor, so that a schedule may write into it: a Python float would be
            a constant of the compiled graph, and every new value a new compilation.

    Returns:
        ``features``, unchanged.

    Example:
        >>> features = torch.ones(2, 3, requires_grad=True)
        >>> reverse_gradient(features, torch.tensor(0.5)).sum().backward()
        >>> features.grad[0]
        tensor([-0.5000, -0.5000, -0.5000])
    """
    return _Reversal.apply(features, torch.as_tensor(strength))
