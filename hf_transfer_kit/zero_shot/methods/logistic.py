"""Logistic regressions, all columns at once."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def fit_logistic(rows: Tensor, targets: Tensor, *, c: float) -> tuple[Tensor, Tensor]:
    """Weights (K, D) and biases (K,) that minimise 1/2 |W|^2 + c sum_n loss_n, biases free.

    Args:
        rows: (N, D), float64.
        targets: int64 (N,) for one regression over K classes, or (N, K) of 0 and 1 for K regressions.
        c: Inverse strength of the penalty, above 0.
    """
    reduced, back = _in_their_span(rows) if len(rows) < rows.shape[1] else (rows, None)
    several = targets.dim() == 2
    count = targets.shape[1] if several else int(targets.max()) + 1
    weight = torch.zeros(count, reduced.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(count, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=500, tolerance_grad=1e-5, tolerance_change=1e-12, history_size=20,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> Tensor:
        optimizer.zero_grad()
        logits = reduced @ weight.T + bias
        if several:
            errors = functional.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
        else:
            errors = functional.cross_entropy(logits, targets, reduction="sum")
        loss = weight.square().sum() / 2 + c * errors
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    weight = weight.detach()
    return weight if back is None else weight @ back, bias.detach()


def _in_their_span(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Few rows by coordinates in their own span, (N, R), and the way back, (R, D): solutions lie in it."""
    values, vectors = torch.linalg.eigh(rows @ rows.T)
    kept = values > 1e-12 * values[-1]
    lengths, vectors = values[kept].sqrt(), vectors[:, kept]
    return vectors * lengths, (vectors / lengths).T @ rows
