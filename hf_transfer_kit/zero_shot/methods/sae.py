"""A semantic autoencoder: features to attributes and back, with one matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from hf_transfer_kit.features.row_blocks import check_held
from hf_transfer_kit.options import check_number
from hf_transfer_kit.zero_shot.methods.method import ZeroShotMethod, random_map, unit_rows


def sae_map(features: Tensor, attributes: Tensor, *, weight: float) -> Tensor:
    """W, (A, D), with S S^T W + W (lambda X X^T) = (1 + lambda) S X^T (Kodirov et al. 2017, CVPR).

    It minimises |X - W^T S|^2 + lambda |W X - S|^2, columns being rows of data. Both matrices are symmetric, so that
    the Sylvester equation is solved in their eigenvectors.

    Args:
        features: X^T, (N, D).
        attributes: S^T, (N, A): the signature of each row's class.
        weight: lambda, above 0.
    """
    left_values, left_vectors = torch.linalg.eigh(attributes.T @ attributes)
    if len(features) < features.shape[1]:
        _, singular, transposed = torch.linalg.svd(features, full_matrices=False)
        values, vectors = singular.square(), transposed.T
    else:  # no decomposition as large as the rows
        values, vectors = torch.linalg.eigh(features.T @ features)
    sums = left_values.clamp(min=0)[:, None] + weight * values.clamp(min=0)  # (A, R)
    # Across the span of the rows the right-hand side is 0, and so is the shortest solution.
    inner = (1 + weight) * left_vectors.T @ (attributes.T @ features) @ vectors
    solved = torch.where(sums > 1e-10 * sums.max(), inner / sums, torch.zeros_like(inner))
    return left_vectors @ solved @ vectors.T


class SAE(ZeroShotMethod):
    """Scores are cosines between W x and a class's direction from the mean of the seen ones.

    Trainer descends both errors of the autoencoder, a mean over rows.

    Args:
        weight: lambda: how much reading attributes counts against rebuilding features, above 0.

    Raises:
        SettingsError: When it is out of range.
    """

    name: ClassVar[str] = "sae"
    summary: ClassVar[str] = "one matrix from features to attributes and back"
    tries: ClassVar[Mapping[str, Sequence[Any]]] = {"weight": (0.01, 0.1, 1.0, 10.0, 100.0)}

    def __init__(self, width: int, attributes: int, seen: int, *, weight: float = 1.0) -> None:
        super().__init__(width, attributes, seen)
        self.reading = check_number(self.name, "weight", weight, low=0, above=True)
        self.weight = random_map(attributes, width)

    def fit_rows(self, rows: Tensor, labels: Tensor, signatures: Tensor) -> None:
        """Solves for W."""
        needed = len(rows) * signatures.shape[1] + 5 * min(rows.shape) * rows.shape[1]
        check_held(8 * needed, f"the semantic autoencoder of {len(rows)} rows")
        attributes = self.directions(signatures)[labels].to(rows)  # (N, A)
        self.weight.copy_(sae_map(rows, attributes, weight=self.reading))

    def scores(self, features: Tensor, signatures: Tensor) -> Tensor:
        """cos(W x, s - mean of the seen signatures)."""
        return unit_rows(self.rows(features) @ self.weight.T) @ self.directions(signatures).T

    def contributions(self, features: Tensor, signatures: Tensor) -> Tensor:
        """The products whose sum is the cosine."""
        return unit_rows(self.rows(features) @ self.weight.T) * self.directions(signatures)

    def loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """|x - W^T s|^2 + lambda |W x - s|^2."""
        rows, attributes = self.rows(features), self.directions(self.signatures)[labels]
        rebuilt = (rows - attributes @ self.weight).square().sum(dim=1)
        read = (rows @ self.weight.T - attributes).square().sum(dim=1)
        return (rebuilt + self.reading * read).mean()
