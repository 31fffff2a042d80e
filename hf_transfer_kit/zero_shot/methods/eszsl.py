"""An embarrassingly simple approach: a bilinear map in closed form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from hf_transfer_kit.features.row_blocks import check_held
from hf_transfer_kit.options import check_number
from hf_transfer_kit.zero_shot.methods.bilinear import Bilinear
from hf_transfer_kit.zero_shot.methods.method import unit_rows


def eszsl_map(features: Tensor, labels: Tensor, signatures: Tensor, *, gamma: float, penalty: float) -> Tensor:
    """V = (X^T X + gamma I)^-1 X^T Y S (S^T S + lambda I)^-1, (D, A) (Romera-Paredes & Torr 2015, ICML).

    It minimises |X V S^T - Y|^2 + gamma |V S^T|^2 + lambda |X V|^2 + gamma lambda |V|^2 with Y 1 for a row's own class
    and -1 for the others.

    Args:
        features: X, (N, D).
        labels: int64 (N,).
        signatures: S, (S, A).
        gamma: Above 0.
        penalty: lambda, above 0.
    """
    if len(features) < features.shape[1]:  # (X^T X + gamma I)^-1 X^T = X^T (X X^T + gamma I)^-1
        targets = signed_targets(labels, len(signatures), features) @ signatures  # (N, A)
        kernel = features @ features.T + gamma * torch.eye(len(features), dtype=features.dtype)
        left = features.T @ torch.linalg.solve(kernel, targets)
    else:
        covariance = features.T @ features + gamma * torch.eye(features.shape[1], dtype=features.dtype)
        sums = features.new_zeros(len(signatures), features.shape[1]).index_add_(0, labels, features)
        # X^T Y = 2 (sums of the classes' rows) - (sum of all).
        left = torch.linalg.solve(covariance, (2 * sums - sums.sum(dim=0)).T @ signatures)
    right = signatures.T @ signatures + penalty * torch.eye(signatures.shape[1], dtype=features.dtype)
    return torch.linalg.solve(right, left.T).T


def signed_targets(labels: Tensor, classes: int, like: Tensor) -> Tensor:
    """1 for a row's own class and -1 for the others, (N, classes)."""
    targets = like.new_full((len(labels), classes), -1.0)
    return targets.scatter(1, labels[:, None], 1.0)


class ESZSL(Bilinear):
    """V in closed form; Trainer descends the squared error of the scores, weight decay being the penalty.

    Args:
        gamma: Penalty on the side of the features, above 0.
        penalty: Penalty on the side of the signatures, above 0.

    Raises:
        SettingsError: When an option is out of range.
    """

    name: ClassVar[str] = "eszsl"
    summary: ClassVar[str] = "a bilinear map between features and attributes, in closed form"
    tries: ClassVar[Mapping[str, Sequence[Any]]] = {
        "gamma": (0.01, 0.1, 1.0, 10.0, 100.0),
        "penalty": (0.001, 0.01, 0.1, 1.0, 10.0),
    }

    def __init__(self, width: int, attributes: int, seen: int, *, gamma: float = 1.0, penalty: float = 0.1) -> None:
        super().__init__(width, attributes, seen)
        self.gamma = check_number(self.name, "gamma", gamma, low=0, above=True)
        self.penalty = check_number(self.name, "penalty", penalty, low=0, above=True)

    def fit_rows(self, rows: Tensor, labels: Tensor, signatures: Tensor) -> None:
        """Solves for V."""
        needed = 5 * min(rows.shape) * rows.shape[1] + 3 * signatures.shape[0] * rows.shape[1]
        check_held(8 * needed, f"the closed form of {len(rows)} rows")
        self.weight.copy_(
            eszsl_map(rows, labels, unit_rows(self.alike(signatures)), gamma=self.gamma, penalty=self.penalty)
        )

    def loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """Squared error to 1 for the own class and -1 for the others, mean over rows and classes."""
        scores = self.scores(features, self.signatures)
        return (scores - signed_targets(labels, scores.shape[1], scores)).square().mean()
