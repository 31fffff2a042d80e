"""Logistic regressions, all columns at once."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from hf_transfer_kit.features.row_blocks import rows_at_once, slices


def fit_logistic(rows: Tensor, labels: Tensor, *, c: float, answers: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Weights (K, D) and biases (K,) that minimise 1/2 |W|^2 + c sum_n loss_n, biases free.

    Args:
        rows: (N, D), float64; the losses are summed over blocks of them.
        labels: int64 (N,), for one regression over K classes.
        c: Inverse strength of the penalty, above 0.
        answers: (S, K) of 0 and 1: K regressions, whose targets are the rows of these that ``labels`` name.
    """
    reduced, back = _in_their_span(rows) if len(rows) < rows.shape[1] else (rows, None)
    count = int(labels.max()) + 1 if answers is None else answers.shape[1]
    # The solver keeps twenty steps and as many changes of the gradient.
    steps = 8 * 50 * count * (reduced.shape[1] + 1)
    size = rows_at_once(8 * 20 * count, beside=steps, what="a logistic regression")
    weight = torch.zeros(count, reduced.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(count, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=500, tolerance_grad=1e-5, tolerance_change=1e-12, history_size=20,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = weight.square().sum() / 2
        loss.backward()
        for place in slices(len(reduced), size):
            logits = reduced[place] @ weight.T + bias
            if answers is None:
                errors = functional.cross_entropy(logits, labels[place], reduction="sum")
            else:
                targets = answers[labels[place]]
                errors = functional.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
            (c * errors).backward()
            loss = loss.detach() + c * errors.detach()
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
