"""The direction in which a prediction changes most, and how much it changes there."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional


def divergence(logits: Tensor, other: Tensor) -> Tensor:
    """Mean over rows of KL(softmax(logits) | softmax(other)).

    Args:
        logits: (N, C).
        other: (N, C).

    Returns:
        One element >= 0 (up to rounding).
    """
    return functional.kl_div(other.log_softmax(-1), logits.log_softmax(-1), reduction="batchmean", log_target=True)


def per_row_unit(values: Tensor) -> Tensor:
    """Each row of (N, ...) divided by its Euclidean length; rows of zeros stay."""
    lengths = values.flatten(1).norm(dim=1).clamp_min(1e-12)
    return values / lengths.view(-1, *[1] * (values.dim() - 1))


def adversarial_direction(
    predict: Callable[[Tensor], Tensor], inputs: Tensor, logits: Tensor, *, step: float = 0.1, iterations: int = 1
) -> Tensor:
    """Unit vectors, a row each, along which predictions change most: power iteration (Miyato et al. 2018, section 3.3).

    d <- unit(gradient over d of KL(p(x) | p(x + step d))), from a random start (torch's own random state).

    Args:
        predict: Inputs -> logits (N, C), differentiable.
        inputs: x, (N, ...).
        logits: At x, (N, C); taken as given.
        step: Length at which the gradient is taken, above 0.
        iterations: At least 1.

    Returns:
        Of the shape of ``inputs``, no gradient.
    """
    direction = per_row_unit(torch.randn_like(inputs))
    for _ in range(iterations):
        direction.requires_grad_()
        change = divergence(logits.detach(), predict(inputs.detach() + step * direction))
        (gradient,) = torch.autograd.grad(change, direction)
        direction = per_row_unit(gradient)
    return direction.detach()


def virtual_adversarial_loss(
    predict: Callable[[Tensor], Tensor],
    inputs: Tensor,
    logits: Tensor,
    *,
    radius: float,
    step: float = 0.1,
    iterations: int = 1,
) -> Tensor:
    """KL(p(x) | p(x + radius d)) along the adversarial direction d; p(x) is taken as given (equation 8).

    Args:
        predict: Inputs -> logits (N, C), differentiable.
        inputs: x, (N, ...).
        logits: At x, (N, C).
        radius: Euclidean length of the change of a row, above 0, in the units of the inputs.
        step: As in ``adversarial_direction``.
        iterations: As in ``adversarial_direction``.

    Returns:
        One element >= 0 (up to rounding).
    """
    direction = adversarial_direction(predict, inputs, logits, step=step, iterations=iterations)
    return divergence(logits.detach(), predict(inputs + radius * direction))
